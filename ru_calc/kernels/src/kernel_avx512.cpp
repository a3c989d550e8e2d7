#define RU_MODULE _kernel_avx512
#define RU_NAME "_kernel_avx512"
#include "module.hpp"
