#include "guest_load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct guest_count guest_count;
uint64_t guest_run;

void guest_say(const char *format, ...)
{
	char line[LINE_BYTES];
	va_list args;
	int len, head;

	head = snprintf(line, sizeof(line), "load ");
	va_start(args, format);
	len = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	va_end(args);
	len += head;
	if (len > (int)sizeof(line) - 2)
		len = (int)sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)len) != len)
		exit(1); /* nobody can hear us any more */
}

const char *guest_link(void)
{
	FILE *file = fopen("/sys/class/net/eth0/carrier", "re");
	int c = file ? fgetc(file) : EOF; /* no answer while the card is not in use */

	if (file)
		fclose(file);
	return c == '1' ? "up" : c == '0' ? "down" : "none";
}

double guest_now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void guest_sleep_ms(uint64_t ms)
{
	struct timespec t = { .tv_sec = (time_t)(ms / 1000),
			      .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* splitmix64 */
uint64_t guest_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

uint64_t guest_random_below(uint64_t *state, uint64_t limit)
{
	*state = guest_mix(*state);
	return *state % limit;
}
