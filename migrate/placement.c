/* placement.c - filter by what must fit, then order by load. */
#include "migrate/placement.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A line that grows as far as there is room. */
struct line {
	char *text;
	size_t len, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *l, const char *format, ...)
{
	va_list ap;
	int n;

	if (l->used + 1 >= l->len)
		return;
	va_start(ap, format);
	n = vsnprintf(l->text + l->used, l->len - l->used, format, ap);
	va_end(ap);
	if (n > 0)
		l->used += (size_t)n < l->len - l->used ? (size_t)n : l->len - l->used - 1;
}

static uint64_t memory_free(const struct placement_endpoint *e)
{
	return e->memory_used_mib < e->memory_total_mib ? e->memory_total_mib - e->memory_used_mib
							: 0;
}

/* Can @e take it? If not, say why. */
static bool fits(const struct placement_endpoint *e, const struct placement_need *need,
		 struct line *why)
{
	if (need->avoid && strcmp(need->avoid, e->name) == 0)
		add(why, "%s just failed", e->name);
	else if (!e->online)
		add(why, "%s is offline", e->name);
	else if (memory_free(e) < need->memory_mib)
		add(why, "%s has %llu MiB of memory free, %llu are needed", e->name,
		    (unsigned long long)memory_free(e), (unsigned long long)need->memory_mib);
	else if (e->disk_free_bytes < need->disk_bytes)
		add(why, "%s has %llu MiB of disk free, %llu are needed", e->name,
		    (unsigned long long)e->disk_free_bytes >> 20,
		    (unsigned long long)(need->disk_bytes + (1 << 20) - 1) >> 20);
	else
		return true;
	return false;
}

/* How full @e would be: the fuller of memory and processors. Processors may be promised more than once. */
static double load_after(const struct placement_endpoint *e, const struct placement_need *need)
{
	double memory =
		(double)(e->memory_used_mib + need->memory_mib) / (double)e->memory_total_mib;
	double cpu = (double)(e->vcpus_used + need->vcpus) / (double)(e->cpus ? e->cpus : 1);

	return memory > cpu ? memory : cpu;
}

/* Ties go to the larger free memory, then to the name, so that the answer does not depend on the order of the list. */
static bool better(const struct placement_endpoint *a, const struct placement_endpoint *b,
		   const struct placement_need *need)
{
	double load_a = load_after(a, need), load_b = load_after(b, need);

	if (load_a < load_b || load_a > load_b)
		return load_a < load_b;
	if (memory_free(a) != memory_free(b))
		return memory_free(a) > memory_free(b);
	return strcmp(a->name, b->name) < 0;
}

int placement_choose(const struct placement_endpoint *endpoints, size_t n,
		     const struct placement_need *need, char *why, size_t why_len)
{
	struct line line = { .text = why, .len = why_len };
	int best = PLACEMENT_NONE;

	if (why_len)
		why[0] = '\0';
	if (n == 0)
		add(&line, "there is no endpoint");
	for (size_t i = 0; i < n; i++) {
		if (line.used && best == PLACEMENT_NONE)
			add(&line, "; ");
		if (!fits(&endpoints[i], need, &line))
			continue;
		if (best == PLACEMENT_NONE || better(&endpoints[i], &endpoints[best], need))
			best = (int)i;
	}
	if (best != PLACEMENT_NONE && why_len)
		why[0] = '\0';
	return best;
}
