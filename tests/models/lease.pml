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
 */
#define TTL    2
#define LATE   1 /* ticks */
#ifdef NO_MARGIN
#define MARGIN 0
#else
#define MARGIN 2
#endif
#define EPOCHS 3
#define LONG_AGO (-2)
#define ENDED(t) ((t) <= LONG_AGO -> LONG_AGO : (t) - 1)

mtype = { FREE, HELD, EXPIRED, LOST, RENEWED, STALE };

/* One message waits in each direction at most, and an endpoint asks again only when its last question was answered or
 * lost: an answer always belongs to the last question. */
chan ask[2] = [1] of { byte };           /* epoch */
chan answer[2] = [1] of { mtype, byte }; /* RENEWED or STALE, epoch */
chan grant[2] = [1] of { byte };
chan release[2] = [1] of { byte };

bool has[2], runs[2], asked[2];
byte known[2];  /* newest epoch the endpoint heard of */
short until[2]; /* ticks that it may run on */
short since[2]; /* TTL less the ticks since it asked */
short left = 0; /* the server's: ticks until the lease ends */

#define MINE(e, i) (holder == (i) && (e) == epoch && (state == HELD || state == EXPIRED))

inline give(i)
{
	epoch++;
	holder = i;
	left = TTL;
	state = HELD;
	if
	:: nfull(grant[i]) -> grant[i]!epoch
	:: true /* lost */
	fi
}

/* What no longer matters is set to one value, so that states which differ in nothing else are one. */
inline renew(i)
{
	if
#ifdef RENEWS_STALE
	:: state != FREE -> left = TTL; state = HELD; answer[i]!RENEWED, e
#else
	:: MINE(e, i) -> left = TTL; state = HELD; answer[i]!RENEWED, e
#endif
	:: else -> answer[i]!STALE, e
	fi;
	e = 0
}

inline free_if_mine(i)
{
	if
	:: MINE(e, i) -> state = FREE; left = LONG_AGO
	:: else
	fi;
	e = 0
}

active proctype server()
{
	mtype state = FREE;
	byte epoch = 0, holder = 0, e;

end:	do
	:: atomic { (state == FREE || state == LOST) && epoch < EPOCHS -> give(0) }
	:: atomic { (state == FREE || state == LOST) && epoch < EPOCHS -> give(1) }
	:: atomic { ask[0]?e -> renew(0) }
	:: atomic { ask[1]?e -> renew(1) }
	:: atomic { release[0]?e -> free_if_mine(0) }
	:: atomic { release[1]?e -> free_if_mine(1) }
	:: atomic { state == HELD && left <= 0 -> state = EXPIRED }
	:: atomic { state == EXPIRED && left <= -MARGIN -> state = LOST; left = LONG_AGO }
#ifdef REVOKES_AT_ONCE
	:: atomic { state == HELD || state == EXPIRED -> state = FREE; left = LONG_AGO }
#else
	:: atomic { (state == HELD || state == EXPIRED) && epoch < EPOCHS -> epoch++; state = EXPIRED }
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

end:	do
	:: atomic { grant[i]?e ->
		if
		:: e > known[i] ->
			known[i] = e;
			has[i] = true;
			halt(i);
#ifdef RUNS_ON_GRANT
			until[i] = TTL;
			start(i)
#endif
		:: else
		fi;
		e = 0 }
	:: atomic { has[i] && !asked[i] && empty(ask[i]) && empty(answer[i]) ->
		ask[i]!known[i];
		asked[i] = true;
		since[i] = TTL }
	:: atomic { answer[i]?what, e -> accept(i) }
	:: atomic { runs[i] && until[i] <= 0 -> halt(i) }
	/* a person stops the desktop; the endpoint loses its power */
	:: atomic { has[i] && empty(release[i]) -> halt(i); has[i] = false; release[i]!known[i] }
	:: atomic { has[i] -> halt(i); has[i] = false }
	od
}

active proctype network()
{
end:	do
	:: atomic { ask[0]?_ -> asked[0] = false; since[0] = LONG_AGO }
	:: atomic { ask[1]?_ -> asked[1] = false; since[1] = LONG_AGO }
	:: atomic { answer[0]?_, _ -> asked[0] = false; since[0] = LONG_AGO }
	:: atomic { answer[1]?_, _ -> asked[1] = false; since[1] = LONG_AGO }
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
		until[0] = ENDED(until[0]);
		until[1] = ENDED(until[1]);
		since[0] = ENDED(since[0]);
		since[1] = ENDED(since[1]) }
	od
}

init {
	atomic { run endpoint(0); run endpoint(1) }
}
