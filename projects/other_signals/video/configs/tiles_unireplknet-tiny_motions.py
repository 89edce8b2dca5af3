# reshape_unireplknet-tiny_motions.py with frames side by side.
_base_ = './reshape_unireplknet-tiny_motions.py'
model = dict(layout='tiles')
