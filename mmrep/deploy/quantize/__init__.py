"""Exported files in eight bits, with scores and layers left in float."""

from mmrep.deploy.quantize.quantize import Quantized, quantize

__all__ = ['Quantized', 'quantize']
