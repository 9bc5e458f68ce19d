/* clock_jump.c - a wall clock that is wrong by GODWIT_CLOCK_JUMP_S seconds, for LD_PRELOAD.
 *
 * GODWIT_CLOCK_JUMP_FILE=FILE: the number is read from there at each call instead, so that the clock jumps while the program
 * runs. Monotonic clocks go on as they are, as they do in reality; so do the times of files, which the kernel gives.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long jump_s(void)
{
	const char *file = getenv("GODWIT_CLOCK_JUMP_FILE"), *text = getenv("GODWIT_CLOCK_JUMP_S");
	char buf[32] = "";
	int fd;

	if (!file)
		return text ? atoll(text) : 0;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, buf, sizeof(buf) - 1) < 0)
		buf[0] = '\0';
	close(fd);
	return atoll(buf);
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ts);

	if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ts->tv_sec += (time_t)jump_s();
	return r;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = (suseconds_t)(ts.tv_nsec / 1000);
	return 0;
}

time_t time(time_t *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}
