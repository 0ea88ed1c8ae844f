"""Evaluations of a run on the workers of a Ray cluster."""

from langchain_promptopt_ray.workers import RayWorker, ray_workers

__all__ = ["RayWorker", "ray_workers"]
