"""Exported files in eight bits, with their score and what stays in float."""

from mmrep.deploy.quantize.quantize import Quantized, quantize

__all__ = ['Quantized', 'quantize']
