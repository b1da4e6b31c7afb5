#include "check.hpp"
#include "dispatch.hpp"
int main() { CHECK(!jaxhp::available_isas().empty()); return 0; }
