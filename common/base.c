#include "common/base.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void base_free(void *p)
{
	free(p);
}

void base_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}
