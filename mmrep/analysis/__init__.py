from mmrep.analysis.complexity import Complexity, build_on_meta, count

__all__ = ['Complexity', 'build_on_meta', 'count']
