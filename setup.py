"""Put the repository's ``conf/`` into wheels as ``dipddpm/conf``, which pyproject.toml alone cannot do."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

NO_COMMAND = "train_prior.yaml"  # the configuration of train_prior.py, which is not in a wheel
CONF = [p for p in sorted(Path("conf").rglob("*.yaml")) if p.name != NO_COMMAND]


class BuildWithConf(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable install finds conf/ beside the package
            for file in CONF:
                target = self._built(file)
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *(str(self._built(file)) for file in CONF)]

    def _built(self, file: Path) -> Path:
        return Path(self.build_lib, "dipddpm", file)


setup(cmdclass={"build_py": BuildWithConf})
