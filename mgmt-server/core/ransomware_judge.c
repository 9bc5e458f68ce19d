/* ransomware_judge.c - see ransomware_judge.h. */
#include "mgmt-server/core/ransomware_judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ENOUGH = 8, /* snapshots before anything is usual */
	CHURN_DEVIATIONS = 8,
};

#define CHURN_LEAST (64.0 * (1 << 20)) /* bytes: less is no churn */
#define MAD_SCALE   1.4826             /* of a normal distribution: deviation / MAD */

const char *const ransomware_judge_levels[] = { "calm", "unusual", "alarm" };

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const double *values, size_t n)
{
	double sorted[RANSOMWARE_JUDGE_HISTORY];

	memcpy(sorted, values, n * sizeof(*values));
	qsort(sorted, n, sizeof(*sorted), compare);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* Is @value far above what @values are? */
static bool outlier(double value, const double *values, size_t n)
{
	double middle, away[RANSOMWARE_JUDGE_HISTORY], spread;

	if (n < ENOUGH)
		return false;
	middle = median(values, n);
	for (size_t i = 0; i < n; i++)
		away[i] = fabs(values[i] - middle);
	spread = MAD_SCALE * median(away, n);
	spread = fmax(spread, middle / 8); /* equal ones do not make every other one an outlier */
	return value > middle + CHURN_DEVIATIONS * spread;
}

double ransomware_judge_encrypted(const struct ransomware_measure *m,
				  const struct ransomware_limits *limits)
{
	double found = (double)m->encrypted_wholly + (double)m->encrypted_partly;
	double lost = fmin((double)m->vanished, (double)m->created_random);

	found += fmin(found, (double)m->encrypted_unnamed / 4);
	/* Files under new names in the place of others that are gone: many, and all of one extension. */
	if (found + lost >= limits->files && (double)m->suffix_count >= limits->files)
		found += lost;
	return found;
}

static void judge_files(const struct ransomware_measure *m, const struct ransomware_limits *limits,
			double encrypted, double above, struct ransomware_judgement *out)
{
	bool named = (double)m->suffix_count * 2 >= encrypted && above * 5 >= limits->files * 2;

	if (above >= limits->files)
		snprintf(out->why, sizeof(out->why), "%.0f files were encrypted%s%.40s", encrypted,
			 m->suffix[0] ? ", extension " : "", m->suffix);
	else if (named)
		snprintf(out->why, sizeof(out->why),
			 "%.0f files were encrypted, all with the extension %.40s", encrypted,
			 m->suffix);
	else if (out->churn && above * 2 >= limits->files)
		snprintf(out->why, sizeof(out->why),
			 "%.0f files were encrypted, and far more changed than ever (%.0f MiB)",
			 encrypted, (double)m->changed_bytes / (1 << 20));
	else if (out->excess >= limits->files)
		snprintf(out->why, sizeof(out->why),
			 "%.0f files were encrypted over the last snapshots, a few in each",
			 out->excess);
	else
		return;
	out->level = RANSOMWARE_ALARM;
}

void ransomware_judge(const struct ransomware_measure *m, const struct ransomware_history *h,
		      const struct ransomware_limits *limits, struct ransomware_judgement *out)
{
	double encrypted = ransomware_judge_encrypted(m, limits), above;
	double usual =
		h->count >= ENOUGH ? fmin(median(h->encrypted, h->count), limits->files / 2) : 0;

	*out = (struct ransomware_judgement){ .level = RANSOMWARE_CALM };
	above = fmax(0, encrypted - usual);
	out->excess = fmax(0, h->excess + above - limits->slack);
	out->churn = (double)m->changed_bytes >= CHURN_LEAST &&
		     outlier((double)m->changed_bytes, h->changed, h->count);
	judge_files(m, limits, encrypted, above, out);
	if (out->level == RANSOMWARE_CALM && m->encrypted_volumes) {
		out->level = RANSOMWARE_UNUSUAL;
		snprintf(
			out->why, sizeof(out->why),
			"a file system was encrypted as a whole: nobody can look at its files now");
	}
}
