"""Model files: reading, writing, opening for predictions, and model cards."""

from typing import TYPE_CHECKING

from ru_calc import lazy_names

if TYPE_CHECKING:
    from ru_calc.modelfiles.load import load_model, upgrade_model
    from ru_calc.modelfiles.open import open_model
    from ru_calc.modelfiles.read import model_names, model_path

__all__ = ["load_model", "model_names", "model_path", "open_model", "upgrade_model"]

__getattr__ = lazy_names(
    __name__,
    {
        "load_model": "ru_calc.modelfiles.load",
        "model_names": "ru_calc.modelfiles.read",
        "model_path": "ru_calc.modelfiles.read",
        "open_model": "ru_calc.modelfiles.open",
        "upgrade_model": "ru_calc.modelfiles.load",
    },
)
