#define RU_MODULE _kernel_avx2
#define RU_NAME "_kernel_avx2"
#include "module.hpp"
