/* base.h - the few words that every file uses: scope cleanup, ownership hand-over, array length.
 *
 * CLEANUP(fn) runs fn(&variable's value) when the variable leaves its scope; fn must accept the "nothing here" value
 * (NULL, -1), so a hand-over by TAKE() needs no flag. DEFINE_CLEANUP(type, fn) makes that possible once per fn.
 */
#ifndef GODWIT_COMMON_BASE_H
#define GODWIT_COMMON_BASE_H

#include <stddef.h>

#define DEFINE_CLEANUP(type, fn)                                                                   \
	static inline void fn##_cleanup(type *p)                                                   \
	{                                                                                          \
		if (*p)                                                                            \
			fn(*p);                                                                    \
	}                                                                                          \
	struct fn##_needs_a_semicolon

/* unused: a variable may be there for its end only. */
#define CLEANUP(fn) __attribute__((cleanup(fn##_cleanup), unused))

/* Give the pointer away: its variable is NULL afterwards. */
#define TAKE(p)                                                                                    \
	({                                                                                         \
		__typeof__(p) take_ = (p);                                                         \
		(p) = NULL;                                                                        \
		take_;                                                                             \
	})

/* The same for a file descriptor: its variable is -1 afterwards. */
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int take_ = (fd);                                                                  \
		(fd) = -1;                                                                         \
		take_;                                                                             \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* CLEANUP_FREE char *text = NULL; CLEANUP_FD int fd = -1; the two that need no header of their own. */
void base_free(void *p);
void base_close(int fd);

static inline void mem_free_cleanup(void *pp)
{
	base_free(*(void **)pp);
}

static inline void fd_close_cleanup(int *fd)
{
	base_close(*fd);
}

#define CLEANUP_FREE CLEANUP(mem_free)
#define CLEANUP_FD   CLEANUP(fd_close)

#endif
