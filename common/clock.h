/* clock.h - time. Durations come from CLOCK_BOOTTIME (it goes on while a laptop sleeps, and never jumps); wall-clock
 * time is for people and records only.
 */
#ifndef GODWIT_COMMON_CLOCK_H
#define GODWIT_COMMON_CLOCK_H

#include <stdint.h>

uint64_t clock_now_ms(void); /* CLOCK_BOOTTIME */
uint64_t clock_now_us(void);
uint64_t clock_wall_ms(void); /* since 1970, UTC */
/* The wall clock, but never ahead of what it said when this process first asked plus the time that has passed since: for what may only
 * happen when something is old enough. A clock that is set back counts, one that jumps ahead does not.
 */
uint64_t clock_wall_cautious_ms(void);
void clock_sleep_ms(uint64_t ms);

enum { CLOCK_TEXT_LEN = 24 };
/* "2026-11-22T16:45:12Z" into char[CLOCK_TEXT_LEN]. Source: RFC 3339. */
void clock_format(uint64_t wall_ms, char text[CLOCK_TEXT_LEN]);
/* The reverse; return 0 or -EINVAL. */
int clock_parse(const char *text, uint64_t *wall_ms);

#endif
