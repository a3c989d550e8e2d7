#define RU_MODULE _kernel_base
#define RU_NAME "_kernel_base"
#include "module.hpp"
