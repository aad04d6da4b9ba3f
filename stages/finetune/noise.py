"""The base's forward process: how noisy latents are made, at which timesteps, and what must be predicted of them."""

from __future__ import annotations

import torch

from stages.common.diffusion import Base
from stages.common.errors import UserError
from stages.common.params import Training


class NoiseSchedule:
    """The base's forward process: what is added at a timestep, what the UNet must predict, how much it counts."""

    def __init__(self, base: Base, snr_gamma: float) -> None:
        """Take the schedule from the base. Raises UserError for a kind of prediction that isn't known here."""
        alphas = base.scheduler.alphas_cumprod.to(device=base.device, dtype=torch.float64)
        self.signal, self.noise = alphas.sqrt().float(), (1 - alphas).sqrt().float()
        self.steps = len(alphas)
        self.prediction_type: str = base.scheduler.config.prediction_type
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise UserError(f"{base.folder}/scheduler: prediction_type {self.prediction_type!r} is not known here")
        self.weight = torch.ones_like(self.signal)
        if snr_gamma > 0:  # min-SNR (Hang et al. 2023), equation 5, for noise and for velocity
            snr = alphas / (1 - alphas)
            velocity = self.prediction_type == "v_prediction"
            self.weight = (snr.clamp(max=snr_gamma) / (snr + 1 if velocity else snr)).float()

    def add(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noisy latents at the timesteps, and the target of the prediction; all [n, channels, height, width]."""
        signal, strength = self.signal[timesteps, None, None, None], self.noise[timesteps, None, None, None]
        noisy = signal * latents + strength * noise
        return noisy, signal * noise - strength * latents if self.prediction_type == "v_prediction" else noise


def draw_timesteps(settings: Training, steps: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps of `count` pictures of an update, int64 [count] in [0, steps).

    uniform: each picture's own, evenly (Ho et al. 2020, algorithm 1; diffusers' scripts). logit_normal: steps times the
    sigmoid of a normal number (Esser et al. 2024, section 3.1), so that the middle, where letters take shape, comes
    more often than the ends; one for each count-th part of the distribution, shuffled, so that no update hears of early
    or late steps alone (as the low-discrepancy sampler of Kingma et al. 2021, appendix I.1).
    """
    device = generator.device
    if settings.timesteps == "uniform":
        return torch.randint(steps, (count,), generator=generator, device=device)
    place = torch.rand(count, generator=generator, device=device)
    place = (torch.randperm(count, generator=generator, device=device) + place) / count
    normal = settings.timestep_mean + settings.timestep_std * torch.special.ndtri(place.double())
    timesteps: torch.Tensor = (normal.sigmoid() * steps).long().clamp(0, steps - 1)
    return timesteps
