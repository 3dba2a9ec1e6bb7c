"Kernels named lepton-N, for headless runs."
from jupyter_client.kernelspec import KernelSpecManager
class Ignore(dict):
    def __setitem__(self, k, v): pass
    def __deepcopy__(self, memo): return Ignore()
class BenchKernelSpecManager(KernelSpecManager):
    def get_kernel_spec(self, name):
        found = super().get_kernel_spec("python3" if name.startswith("lepton") else name)
        found.metadata = Ignore(); return found
