/* ransomware_judge.h - is what a desktop's disks went through since its last snapshot an attack? Pure functions.
 *
 * What counts is files that were encrypted (`godwit-scan changes`), because nothing but encryption makes many documents random
 * at once: archives, photos and videos keep their kind when they are saved anew, upgrades replace programs with programs.
 * What is usual for this desktop is taken off (the median of its earlier snapshots, but no more than half of the limit, or a slow
 * attack would become usual). Three ways to an alarm:
 *   many files in one snapshot;
 *   fewer, when they all got the same extension, or when far more than ever changed on the disks (median and MAD);
 *   a few in each of several snapshots: the sum of what is above the usual (CUSUM) reaches the same limit.
 * A disk or partition that is encrypted as a whole now is unusual, no alarm: people do that too, and it is told.
 */
#ifndef GODWIT_MGMT_SERVER_RANSOMWARE_JUDGE_H
#define GODWIT_MGMT_SERVER_RANSOMWARE_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RANSOMWARE_JUDGE_HISTORY = 50, RANSOMWARE_JUDGE_WHY = 200 };

struct ransomware_measure { /* of one snapshot against the one before; see godwit-scan(1) */
	uint64_t encrypted_wholly, encrypted_partly, encrypted_unnamed;
	uint64_t vanished, created_random, suffix_count;
	uint64_t changed_bytes, became_random_bytes;
	uint64_t file_systems, encrypted_volumes;
	char suffix[40];
};

struct ransomware_history { /* of the same desktop, without what was an attack */
	size_t count;
	double encrypted[RANSOMWARE_JUDGE_HISTORY]; /* ransomware_judge_encrypted() */
	double changed[RANSOMWARE_JUDGE_HISTORY];   /* bytes */
	double excess; /* of the snapshot before: what of it and earlier ones is above the usual, in files */
};

struct ransomware_limits {
	double files; /* so many encrypted files are an attack */
	double slack; /* so many more than usual in one snapshot are not worth remembering */
};

enum ransomware_level { RANSOMWARE_CALM, RANSOMWARE_UNUSUAL, RANSOMWARE_ALARM };

struct ransomware_judgement {
	enum ransomware_level level;
	double excess;
	bool churn;                     /* far more changed than ever */
	char why[RANSOMWARE_JUDGE_WHY]; /* "": calm */
};

extern const char *const ransomware_judge_levels[]; /* by level */

/* Files that were encrypted, as far as they can be told; those without an extension (caches) count a quarter, and no
 * more than the others. */
double ransomware_judge_encrypted(const struct ransomware_measure *measure,
				  const struct ransomware_limits *limits);

void ransomware_judge(const struct ransomware_measure *measure,
		      const struct ransomware_history *history,
		      const struct ransomware_limits *limits, struct ransomware_judgement *out);

#endif
