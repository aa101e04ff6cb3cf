/* rollback.pml - an older copy of a node's directory is put back behind its peer: is it noticed?
 * SPDX-License-Identifier: Apache-2.0
 *
 * One link, A to B. A's durable state may be copied once and put back once (-DROLLA), or B's (-DROLLB). Nodes start anew
 * at any time. Any data frame that A has released, and any hello that was ever said, may arrive any time, any number of
 * times, or never: a hello of a start is known by the least and the greatest that its numbers have been.
 * Messages made after the copy was put back are others, under the same numbers.
 *  LEFT        (rule of core/link.h) a number is released only once it is durable that it may have left; what counts in
 *              a hello is what had left before the start, until numbers have agreed
 *  mutants: -DSENT   what counts is what is durable now    -DSTART   what was durable when the start began
 *           -DLATE   B compares only when a hello knows its start: A may be up before, and start again
 * Claim: B never holds another message than A has under that number, unless one of them has seen the loss. */
#ifndef M
#define M 2 /* messages */
#endif
#ifndef SA
#define SA 3 /* starts of A and of B at most */
#endif
#ifndef SB
#define SB 1
#endif
#if SA > SB
#define S SA
#else
#define S SB
#endif

typedef A_state { byte sent; byte left; byte trim; bit p[M + 1] };
typedef B_state { byte acc; bit got[M + 1]; byte peer };

A_state a, acopy;
B_state b, bcopy;
byte ainc = 1, binc = 1;   /* starts: of the whole history, as random incarnations would be */
bit life;                  /* of the messages A makes now */
bit copied, put, lost;
/* this start of A */
byte start_left; bit a_up, a_ever; byte a_acked; byte a_peer; byte a_known_acked;
/* this start of B */
bit b_up; byte b_heard; byte b_known_acc;
/* hellos: of A's start i, said to B's start j: whether; numbers of each start */
bit ah[(S + 1) * (S + 1)]; byte ah_start[S + 1]; byte ah_left[S + 1]; byte ah_trim[S + 1];
bit bh[(S + 1) * (S + 1)]; byte bh_low[S + 1]; byte bh_acc[S + 1];
/* frames released: by A's start i, number, content */
bit fr[(S + 1) * 2 * (M + 1)];
byte k, i;
#define AH(x, y) ah[(x) * (S + 1) + (y)]
#define BH(x, y) bh[(x) * (S + 1) + (y)]
#define FR(x, c, n) fr[((x) * 2 + (c)) * (M + 1) + (n)]

#ifdef SENT
#define START_LEFT(x) ah_left[x] /* at worst the latest that was said */
#define A_LIMIT a.sent
#define NOTE_LEFT a.left = a.sent
#else
#ifdef START
#define A_LIMIT (a_ever -> a.left : start_left)
#define START_LEFT(x) ah_start[x]
#define NOTE_LEFT a.left = a.sent
#else
#define A_LIMIT (a_ever -> a.left : start_left)
#define START_LEFT(x) ah_start[x]
#define NOTE_LEFT if :: a_ever -> a.left = a.sent :: else -> skip fi
#endif
#endif

inline SAY_A() { /* A's hello, to the start of B it has heard of last (0: none) */
    AH(ainc, a_peer) = 1; ah_start[ainc] = start_left;
    if :: a.left > ah_left[ainc] -> ah_left[ainc] = a.left :: else -> skip fi;
    if :: a.trim > ah_trim[ainc] -> ah_trim[ainc] = a.trim :: else -> skip fi
}
inline START_A() {
    ainc++; start_left = a.left; a_up = 0; a_ever = 0; a_acked = a.trim; a_known_acked = a.trim; a_peer = 0
}
inline START_B() { binc++; bh_low[binc] = b.acc; bh_acc[binc] = b.acc; b_up = 0; b_heard = b.peer; b_known_acc = b.acc }

init {
    bh_acc[1] = 0;
end:
    do
    /* A sends, in an epoch that is durable at once */
    :: d_step { !lost && a.sent < M -> a.sent++; a.p[a.sent] = life; NOTE_LEFT }
    /* an epoch that notes what may leave */
    :: d_step { !lost && a.left < a.sent && a_ever -> a.left = a.sent }
    /* A releases */
    :: d_step { !lost && a_up && a.left > a_acked ->
         k = a_acked + 1;
         do :: k <= a.left -> FR(ainc, a.p[k], k) = 1; k++ :: else -> break od; k = 0 }
    /* A trims what is acknowledged */
    :: d_step { !lost && a.trim < a_acked -> a.trim = a_acked }
    /* A says hello */
    :: d_step { !lost -> SAY_A() }
    /* B says hello */
    :: d_step { !lost && !BH(binc, b_heard) -> BH(binc, b_heard) = 1 }
    /* B takes a frame of the start of A that it is up with */
    :: d_step { !lost && b_up && b.acc < M && FR(b_heard, 0, b.acc + 1) ->
         b.acc++; b.got[b.acc] = 0; bh_acc[binc] = b.acc }
    :: d_step { !lost && b_up && b.acc < M && FR(b_heard, 1, b.acc + 1) ->
         b.acc++; b.got[b.acc] = 1; bh_acc[binc] = b.acc }
    /* A hears a hello of B's start i, which knew A's start; it says any acc between the start's least and greatest */
    :: d_step { !lost && a_peer < binc -> a_peer = binc; a_known_acked = a_acked; a_up = 0 }
    :: !lost && a_peer > 0 && BH(a_peer, ainc) -> d_step {
         if :: bh_acc[a_peer] > A_LIMIT -> lost = 1                 /* this node has lost what it sent */
            :: else ->
               if :: bh_acc[a_peer] < a_known_acked -> lost = 1     /* the peer has lost what it took in */
                  :: else -> a_up = 1; a_ever = 1;
                     if :: bh_acc[a_peer] > a_acked -> a_acked = bh_acc[a_peer] :: else -> skip fi
               fi
         fi }
    :: !lost && a_peer > 0 && BH(a_peer, ainc) && bh_low[a_peer] < bh_acc[a_peer] -> d_step { /* an early one */
         if :: bh_low[a_peer] > A_LIMIT || bh_low[a_peer] < a_known_acked -> lost = 1
            :: else -> a_up = 1; a_ever = 1;
               if :: bh_low[a_peer] > a_acked -> a_acked = bh_low[a_peer] :: else -> skip fi
         fi }
    /* B hears of a later start of A */
    :: d_step { !lost && b_heard < ainc && (AH(ainc, 0) || AH(ainc, binc)) ->
         b_heard = ainc; b_known_acc = b.acc; b_up = 0;
#ifndef LATE
         if :: b_known_acc > START_LEFT(b_heard) -> lost = 1 :: else -> skip fi
#endif
       }
    /* B hears a hello of that start which knew B's start */
    :: !lost && b_heard > 0 && AH(b_heard, binc) -> d_step {
         if :: (b_heard != b.peer && b_known_acc > START_LEFT(b_heard)) || ah_trim[b_heard] > b.acc -> lost = 1
            :: else -> b_up = 1; b.peer = b_heard
         fi }
    /* crashes */
    :: d_step { !lost && ainc < SA -> START_A() }
    :: d_step { !lost && binc < SB -> START_B() }
#ifdef ROLLA
    :: d_step { !copied -> copied = 1; acopy.sent = a.sent; acopy.left = a.left; acopy.trim = a.trim;
         k = 1; do :: k <= M -> acopy.p[k] = a.p[k]; k++ :: else -> break od; k = 0 }
    :: d_step { !lost && copied && !put && ainc < SA -> put = 1; life = 1;
         a.sent = acopy.sent; a.left = acopy.left; a.trim = acopy.trim;
         k = 1; do :: k <= M -> a.p[k] = acopy.p[k]; k++ :: else -> break od; k = 0; START_A() }
#endif
#ifdef ROLLB
    :: d_step { !copied -> copied = 1; bcopy.acc = b.acc; bcopy.peer = b.peer;
         k = 1; do :: k <= M -> bcopy.got[k] = b.got[k]; k++ :: else -> break od; k = 0 }
    :: d_step { !lost && copied && !put && binc < SB -> put = 1;
         b.acc = bcopy.acc; b.peer = bcopy.peer;
         k = 1; do :: k <= M -> b.got[k] = bcopy.got[k]; k++ :: else -> break od; k = 0; START_B() }
#endif
    /* the claims, of a moment at which both are up with each other */
    :: d_step { !lost && a_up && b_up && b_heard == ainc && a_peer == binc ->
         assert(a.trim <= b.acc);
         assert(b.acc <= a.sent);
         k = 1; do :: k <= b.acc -> assert(k > a.sent || b.got[k] == a.p[k]); k++ :: else -> break od; k = 0 }
    od
}
