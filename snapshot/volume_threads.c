#include "snapshot/volume_threads.h"

#include <sched.h>

unsigned volume_threads(unsigned wanted)
{
	cpu_set_t set;

	if (wanted)
		return wanted;
	return sched_getaffinity(0, sizeof(set), &set) < 0 ? 2 : (unsigned)CPU_COUNT(&set) + 1;
}
