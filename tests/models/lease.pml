/* lease.pml - the lease protocol: a strict desktop never runs on two endpoints at a time.
 *
 * One server, two endpoints, links that delay and lose messages for as long as they like. Time is counted in ticks;
 * everybody's countdown goes down with each tick, but an endpoint may see a tick late that its lease is over (a slow
 * clock, a pause that takes a moment): that is what the margin is for. Source: migrate/lease.c, DESIGN section 8.
 *
 * tests/system/lease_model.sh checks this model as it is, and with each of these mistakes built in; the checker must
 * find two runners in every one of those:
 *   -DCOUNTS_FROM_RECEIPT  an endpoint counts from when the renewal's answer came, not from when it asked
 *   -DRUNS_ON_GRANT        an endpoint runs as soon as a grant comes, however long that travelled
 *   -DNO_MARGIN            the server fails over when the lease ends
 *   -DRENEWS_STALE         the server renews a lease under an epoch that is over
 *   -DREVOKES_AT_ONCE      the server frees a strict lease because a person is impatient
 *
 * With -DRESTORES=n -DRESTARTS=m the server's catalogue also comes back n times from an older copy, and the server is
 * restarted m times as usual (leases_forgotten, leases_claim, mgmt-server/core/doubt.h). The mistakes there:
 *   -DNO_DOUBT             it gives out rights at once
 *   -DRENEWS_IN_DOUBT      it renews for whoever the copy names, though he stands still and another one may run
 *   -DCLAIMS_AT_ONCE       a claim is told to the claimer before the displaced holder has stopped
 *   -DCLAIMS_IN_DOUBT      … or at the doubt's end in any case (n = 2: the newer right may be the older one's)
 *   -DFORGETS_DOUBT        a restart ends the doubt
 *   -DOLD_WORDS            that a lease is in force counts although it was said before the start (-DTTL=3: what travels
 *                          for longer than the margin must still be in time)
 *
 * A copy holds any epoch that was ever given out, free or held by whom it was given to, or none at all, as for a desktop
 * that it does not know; its job may be handed out once more. Left out, and why: a copy of the future (there is none);
 * LOST (differs from FREE in nothing that counts here); an epoch that a revocation skipped (nobody has it: until the doubt
 * ends it is as FREE); a second server that lives on beside this one, and a catalogue that was replaced behind the
 * server's back (nothing here protects from these, docs/protocol.md says so); offline-ok desktops (no lease stops them).
 */
#ifndef TTL
#define TTL    2
#endif
#define LATE   1 /* ticks */
#ifdef NO_MARGIN
#define MARGIN 0
#else
#define MARGIN 2
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif
#define LONG_AGO (-2)
#define ENDED(t) ((t) <= LONG_AGO -> LONG_AGO : (t) - 1)
#define OVER(t)  ((t) <= 1 -> LONG_AGO : (t) - 1)
#define LESS(t)  ((t) <= 0 -> 0 : (t) - 1)

mtype = { FREE, HELD, EXPIRED, LOST, RENEWED, STALE, WAIT };

/* One message waits in each direction at most, and an endpoint asks again only when its last question was answered or
 * lost: an answer always belongs to the last question. */
chan ask[2] = [1] of { byte, bool };           /* epoch; is the lease in force? (RESTORES) */
chan answer[2] = [1] of { mtype, byte, bool }; /* RENEWED, STALE or WAIT, epoch; of this start of the server? */
chan grant[2] = [1] of { byte };
chan release[2] = [1] of { byte };

bool has[2], runs[2], asked[2];
byte known[2];  /* newest epoch the endpoint heard of */
short until[2]; /* ticks that it may run on */
short since[2]; /* TTL less the ticks since it asked */
short left = 0; /* the server's: ticks until the lease ends */

/* ---- After a start from an older copy ---- */

#ifdef RESTORES
byte restores = RESTORES, restarts = RESTARTS; /* left */
bit to[EPOCHS + 1], given[EPOCHS + 1];         /* to whom each epoch was given, if it was */
#endif
byte newest = 0;   /* epoch that was ever given out: none of them is given again (epoch_floor) */
short doubt = 0;   /* ticks in which an endpoint may run that a restored server does not know of */
short hold = 0;    /* ticks in which he may run whom a claim has displaced */
bool told = false; /* in the doubt: that he may run, to the holder */
bool lived[2];     /* in the doubt: ran when it heard this start's number. What it then says may be as old as that. */

#ifdef OLD_WORDS
#define IN_FORCE(i) (runs[i] || lived[i])
#else
#define IN_FORCE(i) lived[i]
#endif

#define MINE(e, i) (holder == (i) && (e) == epoch && (state == HELD || state == EXPIRED))

inline give(i)
{
	epoch = (newest > epoch -> newest : epoch) + 1;
	newest = epoch;
#ifdef RESTORES
	if
	:: restores > 0 -> to[epoch] = i; given[epoch] = 1
	:: else
	fi;
#endif
	holder = i;
	left = TTL;
	state = HELD;
	if
	:: nfull(grant[i]) -> grant[i]!epoch
	:: true /* lost */
	fi
}

#ifdef NO_DOUBT
#define CERTAIN true
#else
#define CERTAIN (doubt <= 0)
#endif
#ifdef RENEWS_IN_DOUBT
#define TELLS true
#else
#define TELLS (CERTAIN -> hold <= 0 : lives)
#endif

#ifdef CLAIMS_IN_DOUBT
#define WAS_TOLD CERTAIN
#else
#define WAS_TOLD (CERTAIN || told)
#endif

/* An epoch that the catalogue does not know is proven (grants.h). */
inline claim(i)
{
	if
	:: e > epoch ->
		if
#ifndef CLAIMS_AT_ONCE
		:: WAS_TOLD && (state == HELD || state == EXPIRED) && holder != i ->
			hold = (left > 0 -> left : 0) + MARGIN
#endif
		:: else
		fi;
		told = false;
		epoch = e;
		holder = i;
		left = TTL;
		state = HELD
	:: else
	fi
}

/* What no longer matters is set to one value, so that states which differ in nothing else are one. */
inline renew(i)
{
	if
#ifdef RENEWS_STALE
	:: state != FREE -> left = TTL; state = HELD; answer[i]!RENEWED, e, doubt > 0
#else
	:: MINE(e, i) && TELLS -> told = !CERTAIN; left = TTL; state = HELD; answer[i]!RENEWED, e, doubt > 0
	:: MINE(e, i) && !TELLS -> left = TTL; state = HELD; answer[i]!WAIT, e, doubt > 0
#endif
	:: else -> answer[i]!STALE, e, doubt > 0
	fi;
	e = 0;
	lives = false
}

#ifdef RESTORES
/* What was said before this start is still on its way, and told apart by the number that it lacks. */
inline begin(i)
{
	told = false;
	lived[i] = false;
#ifndef OLD_WORDS
	if
	:: full(ask[i]) -> ask[i]?e, _; ask[i]!e, false
	:: empty(ask[i])
	fi;
#endif
	if
	:: full(answer[i]) -> answer[i]?was, e, _; answer[i]!was, e, false
	:: empty(answer[i])
	fi;
	was = 0;
	e = 0
}

/* A usual restart. That it doubted, or that a claimer waits, it knows from a file. */
inline restart()
{
	if
#ifndef FORGETS_DOUBT
	:: doubt > 0 || hold > 0 -> doubt = TTL + MARGIN
#endif
	:: else -> doubt = 0
	fi;
	hold = 0;
	if
	:: state == HELD || state == EXPIRED -> state = HELD; left = TTL
	:: else
	fi;
	begin(0);
	begin(1)
}

inline restore()
{
	epoch = newest;
	do
	:: epoch > 0 -> epoch--
	:: true -> break
	od;
	if
	:: state = FREE; holder = 0; left = LONG_AGO
	:: given[epoch] -> state = HELD; holder = to[epoch]; left = TTL
	fi;
	/* The copy knows a job that begins there: it is handed out again. */
	if
	:: state == HELD && nfull(grant[holder]) -> grant[holder]!epoch
	:: true
	fi;
	if
	:: restores == 0 -> /* no longer of use */
		do
		:: e <= EPOCHS -> to[e] = 0; given[e] = 0; e++
		:: else -> e = 0; break
		od
	:: else
	fi;
	doubt = TTL + MARGIN;
	hold = 0;
	begin(0);
	begin(1)
}
#endif

inline free_if_mine(i)
{
	if
	:: MINE(e, i) -> state = FREE; holder = 0; left = LONG_AGO
	:: else
	fi;
	e = 0
}

active proctype server()
{
	mtype state = FREE;
	byte epoch = 0, holder = 0, e;
	bool lives;
	mtype was;

end:	do
	:: atomic { (state == FREE || state == LOST) && newest < EPOCHS && epoch < EPOCHS && CERTAIN -> give(0) }
	:: atomic { (state == FREE || state == LOST) && newest < EPOCHS && epoch < EPOCHS && CERTAIN && newest > 0 -> give(1) }
	:: atomic { ask[0]?e, lives -> claim(0); renew(0) }
	:: atomic { ask[1]?e, lives -> claim(1); renew(1) }
	:: atomic { release[0]?e -> free_if_mine(0) }
	:: atomic { release[1]?e -> free_if_mine(1) }
	:: atomic { state == HELD && left <= 0 -> state = EXPIRED }
	:: atomic { state == EXPIRED && left <= -MARGIN -> state = LOST; holder = 0; left = LONG_AGO }
#ifdef REVOKES_AT_ONCE
	:: atomic { state == HELD || state == EXPIRED -> state = FREE; holder = 0; left = LONG_AGO }
#else
	:: atomic { (state == HELD || state == EXPIRED) && epoch < EPOCHS -> epoch++; state = EXPIRED }
#endif
#ifdef RESTORES
	:: atomic { restores > 0 && newest > 0 -> restores--; restore() }
	:: atomic { restarts > 0 && newest > 0 -> restarts--; restart() }
#endif
	od
}

inline start(i)
{
	runs[i] = true;
	assert(!(runs[0] && runs[1]))
}

inline halt(i)
{
	runs[i] = false;
	until[i] = LONG_AGO
}

inline accept(i)
{
	asked[i] = false;
	lived[i] = lived[i] || (fresh && doubt > 0 && runs[i]);
	fresh = false;
	if
	:: what == STALE && e == known[i] -> has[i] = false; halt(i)
	:: what == RENEWED && e == known[i] && has[i] ->
#ifdef COUNTS_FROM_RECEIPT
		until[i] = TTL;
#else
		until[i] = (since[i] > until[i] -> since[i] : until[i]);
#endif
		if
		:: until[i] > 0 -> start(i)
		:: until[i] <= 0 && !runs[i] -> until[i] = LONG_AGO
		:: else
		fi
	:: else
	fi;
	since[i] = LONG_AGO;
	e = 0;
	what = 0
}

proctype endpoint(byte i)
{
	byte e;
	mtype what;
	bool fresh;

end:	do
	:: atomic { grant[i]?e ->
		if
		/* The same epoch once more: an old copy's job, handed out again after the agent's last word on it. */
		:: e > known[i] || (e == known[i] && !has[i] && len(release[i]) == 0) ->
			known[i] = e;
			has[i] = true;
			halt(i);
			lived[i] = false;
			since[i] = LONG_AGO; /* what it asked before is not about this grant */
#ifdef RUNS_ON_GRANT
			until[i] = TTL;
			start(i)
#endif
		:: else
		fi;
		e = 0 }
	:: atomic { has[i] && !asked[i] && empty(ask[i]) && empty(answer[i]) ->
		ask[i]!known[i], IN_FORCE(i);
		asked[i] = true;
		since[i] = TTL }
	:: atomic { answer[i]?what, e, fresh -> accept(i) }
	:: atomic { runs[i] && until[i] <= 0 -> halt(i) }
	/* a person stops the desktop; the endpoint loses its power */
	:: atomic { has[i] && empty(release[i]) -> halt(i); has[i] = false; release[i]!known[i] }
	:: atomic { has[i] -> halt(i); has[i] = false }
	od
}

active proctype network()
{
end:	do
	:: atomic { ask[0]?_, _ -> asked[0] = false; since[0] = LONG_AGO }
	:: atomic { ask[1]?_, _ -> asked[1] = false; since[1] = LONG_AGO }
	:: atomic { answer[0]?_, _, _ -> asked[0] = false; since[0] = LONG_AGO }
	:: atomic { answer[1]?_, _, _ -> asked[1] = false; since[1] = LONG_AGO }
	:: release[0]?_
	:: release[1]?_
	od
}

#define IN_TIME(i) (!runs[i] || until[i] > -LATE)

active proctype clock()
{
end:	do
	:: atomic { IN_TIME(0) && IN_TIME(1) ->
		left = ENDED(left);
		doubt = LESS(doubt);
		hold = LESS(hold);
		if
		:: doubt == 0 -> lived[0] = false; lived[1] = false; told = false
		:: else
		fi;
		until[0] = ENDED(until[0]);
		until[1] = ENDED(until[1]);
		since[0] = OVER(since[0]);
		since[1] = OVER(since[1]) }
	od
}

init {
	atomic { run endpoint(0); run endpoint(1) }
}
