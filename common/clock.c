#include "common/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_now_ms(void)
{
	return now_ns(CLOCK_BOOTTIME) / 1000000;
}

uint64_t clock_now_us(void)
{
	return now_ns(CLOCK_BOOTTIME) / 1000;
}

uint64_t clock_wall_ms(void)
{
	return now_ns(CLOCK_REALTIME) / 1000000;
}

static uint64_t first_wall_ms, first_now_ms;

static void first_look(void)
{
	first_wall_ms = clock_wall_ms();
	first_now_ms = clock_now_ms();
}

uint64_t clock_wall_cautious_ms(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint64_t wall = clock_wall_ms(), latest;

	pthread_once(&once, first_look);
	latest = first_wall_ms + (clock_now_ms() - first_now_ms);
	return wall < latest ? wall : latest;
}

void clock_sleep_ms(uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_BOOTTIME, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

void clock_format(uint64_t wall_ms, char text[CLOCK_TEXT_LEN])
{
	static const uint64_t last =
		253402300799; /* 9999-12-31T23:59:59Z: RFC 3339 has four digits */
	uint64_t seconds = wall_ms / 1000;
	time_t t = (time_t)(seconds < last ? seconds : last);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, CLOCK_TEXT_LEN, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

int clock_parse(const char *text, uint64_t *wall_ms)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
	char again[CLOCK_TEXT_LEN];
	struct tm tm = { 0 };
	time_t t;

	if (strlen(text) != strlen(shape))
		return -EINVAL;
	for (size_t i = 0; shape[i]; i++) {
		if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
			return -EINVAL;
	}
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	t = timegm(&tm);
	if (t < 0)
		return -EINVAL;
	/* timegm would quietly make 3 March of 31 February. */
	clock_format((uint64_t)t * 1000, again);
	if (strcmp(text, again) != 0)
		return -EINVAL;
	*wall_ms = (uint64_t)t * 1000;
	return 0;
}
