/* snapshot.pml - exactly-once links + coordinated snapshot by coloured commits
 * SPDX-License-Identifier: Apache-2.0
 *
 * NETWORK = strongest adversary: unordered, lossy, duplicating.  A frame is
 * "available" as soon as the sender has released it and for ever after, so a
 * reconnect, a retransmission, a stale TCP connection and a re-ordering are all
 * covered without modelling channels: the receiver may consume any released
 * frame at any time, or never.
 * SHARD   = durable part D (one LMDB commit) + volatile part V (epoch in progress).
 * CUT     = LMDB read txn = copy of D at that moment; volatile until PERSISTed.
 * COLOUR  = number of the last cut the COMMIT lies behind; stamped on every data
 *           frame, ack and HELLO that derives from that commit.
 *
 * Mutants (-D...):  UNCOL_ACK  acks/HELLO are not coloured
 *                   UNCOL_DATA data frames are not coloured
 *                   VOLCOL     colour kept in memory only, stamped at (re)send time
 *                   RECUT      after a crash a lost cut is simply taken again
 *                   EARLYREL   frames released before the commit
 *                   EARLYACK   ack sent before the commit
 *                   NOGAP      receiver accepts seq > W+1
 *                   NOTIMELINE restore without a new timeline id
 *                   NODURCOL   part reported DONE before colour n is durable
 *                              (hole found by this model in the first draft)
 *                   TERM       (not a mutant) termination detection on the cut
 */
#ifndef N
#define N 2
#endif
#ifndef MAXM
#define MAXM 2          /* messages per link */
#endif
#ifndef MAXS
#define MAXS 1          /* snapshots (may overlap) */
#endif
#ifndef MAXC
#define MAXC 1          /* crashes in total */
#endif
#ifndef MAXR
#define MAXR 0          /* restores in total */
#endif
#ifndef INIT0
#define INIT0 1
#endif
#ifndef TOT
#define TOT 100         /* total messages */
#endif

#if N==2
#define NL 2            /* 0:0->1  1:1->0 */
#define FORLINKS(F) F(0,0,1) F(1,1,0)
#define FORSHARDS(F) F(0) F(1)
#else
#define NL 4            /* ring 0->1->2->0 and chord 1->0 : two cycles */
#define FORLINKS(F) F(0,0,1) F(1,1,2) F(2,2,0) F(3,1,0)
#define FORSHARDS(F) F(0) F(1) F(2)
#endif

#define NONE 0
#define OPEN 1
#define DONE 2
#define LOST 3

typedef Link {
  byte dlast; byte vlast;       /* sender: highest seq in outbox   */
  byte dtrim; byte vtrim;       /* sender: outbox trimmed up to    */
  byte dw;    byte vw;          /* receiver: watermark             */
  bit  pay[MAXM+1];             /* sender's outbox content         */
  bit  got[MAXM+1];             /* what the receiver incorporated  */
  byte scol[MAXM+1];            /* colour of commit that created s */
  byte acol[MAXM+1];            /* colour of first commit with W>=s*/
#if MAXR>0
  byte olast; bit opay[MAXM+1]; /* frames of the previous timeline */
#endif
};
typedef Cut { byte last[NL]; byte trim[NL]; byte w[NL]; byte st[N];
#ifdef TERM
  byte mb[N];
#endif
};

Link L[NL];
Cut  C[MAXS+1];                 /* C[1..MAXS] */
byte dcol[N]; byte vcol[N];
byte started = 0, crashes = 0, restores = 0, total = 0;
#ifdef TERM
byte dmb[N]; byte vmb[N];
#endif

/* ---- cut: record D of shard i for every snapshot up to "upto" ---------- */
#define CUTLINK(l,s,d) \
   if :: (s==I) -> C[vcol[I]].last[l]=L[l].dlast; C[vcol[I]].trim[l]=L[l].dtrim \
      :: (d==I) -> C[vcol[I]].w[l]=L[l].dw \
      :: else -> skip fi;
#ifdef TERM
#define CUTMB C[vcol[I]].mb[I]=dmb[I];
#else
#define CUTMB
#endif
inline TAKE(I,upto) {
  do :: vcol[I] < upto -> vcol[I]++;
        if :: C[vcol[I]].st[I]==NONE ->
              FORLINKS(CUTLINK) CUTMB
              C[vcol[I]].st[I]=OPEN
           :: else -> skip fi
     :: else -> break od
}

/* ---- colour rule ------------------------------------------------------- */
#ifdef VOLCOL
#define DATACOL(l,s) vcol[s]
#define ACKCOL(l,d)  vcol[d]
#else
#define DATACOL(l,s) L[l].scol[L[l].vw+1]
#define ACKCOL(l,d)  L[l].acol[L[l].vtrim+1]
#endif

#ifdef EARLYREL
#define REL(l) L[l].vlast
#else
#define REL(l) L[l].dlast
#endif
#ifdef EARLYACK
#define ACKD(l) L[l].vw
#else
#define ACKD(l) L[l].dw
#endif

#ifdef TERM
#define MBINC(d) vmb[d]++;
#define CANSEND(s) (vmb[s]>0)
#ifdef NOFORK
#define MBDEC(s) vmb[s]--;
#else
#define MBDEC(s)            /* a handler may send any number of messages, then EAT ends it */
#endif
#else
#define MBINC(d)
#define CANSEND(s) (true)
#define MBDEC(s)
#endif

#define A_RECV(l,s,d) \
  :: d_step { L[l].vw < REL(l) -> \
       RCOL(l,s,d) \
       L[l].vw++; L[l].got[L[l].vw]=L[l].pay[L[l].vw]; MBINC(d) }
#ifdef UNCOL_DATA
#define RCOL(l,s,d)
#else
#define RCOL(l,s,d) TAKE(d, DATACOL(l,s));
#endif

#ifdef NOGAP
#define A_GAP(l,s,d) \
  :: d_step { L[l].vw+1 < REL(l) -> L[l].vw=L[l].vw+2; \
       TAKE(d, L[l].scol[L[l].vw]); L[l].got[L[l].vw]=L[l].pay[L[l].vw] }
#else
#define A_GAP(l,s,d)
#endif

#define A_SEND0(l,s,d) \
  :: d_step { L[l].vlast<MAXM && total<TOT && CANSEND(s) -> \
       MBDEC(s) total++; L[l].vlast++; L[l].pay[L[l].vlast]=0 }
#if defined(TERM) || defined(NOPAY)
#define A_SEND1(l,s,d)
#else
#define A_SEND1(l,s,d) \
  :: d_step { L[l].vlast<MAXM && total<TOT -> \
       total++; L[l].vlast++; L[l].pay[L[l].vlast]=1 }
#endif

#define A_ACK(l,s,d) \
  :: d_step { L[l].vtrim < ACKD(l) -> \
       ACOL(l,s,d) \
       L[l].vtrim++ }
#ifdef UNCOL_ACK
#define ACOL(l,s,d)
#else
#define ACOL(l,s,d) TAKE(s, ACKCOL(l,d));
#endif

/* ---- commit = ONE LMDB transaction ------------------------------------- */
#define DIRTYL(l,s,d) || (s==I && (L[l].vlast!=L[l].dlast || L[l].vtrim!=L[l].dtrim)) || (d==I && L[l].vw!=L[l].dw)
#define COMMITL(l,s,d) \
  if :: s==I -> \
        do :: L[l].dlast<L[l].vlast -> L[l].dlast++; L[l].scol[L[l].dlast]=vcol[I] \
           :: else -> break od; \
        L[l].dtrim=L[l].vtrim \
     :: d==I -> \
        do :: L[l].dw<L[l].vw -> L[l].dw++; L[l].acol[L[l].dw]=vcol[I]; \
              /* exactly once, in order, right content */ \
              assert(L[l].dw <= L[l].dlast); \
              assert(L[l].got[L[l].dw]==L[l].pay[L[l].dw]) \
           :: else -> break od \
     :: else -> skip fi; \
  assert(L[l].dtrim <= L[l].dw); assert(L[l].dw <= L[l].dlast);
#ifdef TERM
#define MBDIRTY(i) || (vmb[i]!=dmb[i])
#define MBCOMMIT(i) dmb[i]=vmb[i];
#define MBCRASH(i)  vmb[i]=dmb[i];
#else
#define MBDIRTY(i)
#define MBCOMMIT(i)
#define MBCRASH(i)
#endif
inline DOCOMMIT(I) { FORLINKS(COMMITL) dcol[I]=vcol[I]; MBCOMMIT(I) }
#if N==2
#define ANYDIRTY(i) (false DIRTYX(i,0,0,1) DIRTYX(i,1,1,0) MBDIRTY(i) COLDIRTY(i))
#else
#define ANYDIRTY(i) (false DIRTYX(i,0,0,1) DIRTYX(i,1,1,2) DIRTYX(i,2,2,0) DIRTYX(i,3,1,0) MBDIRTY(i) COLDIRTY(i))
#endif
#define DIRTYX(i,l,s,d) || (s==i && (L[l].vlast!=L[l].dlast || L[l].vtrim!=L[l].dtrim)) || (d==i && L[l].vw!=L[l].dw)
#define A_COMMIT(i) :: d_step { ANYDIRTY(i) -> DOCOMMIT(i); k=0 }

/* ---- crash: V := D, open read txns are gone ----------------------------- */
#define CRASHL(l,s,d) \
  if :: s==I -> \
        do :: L[l].vlast>L[l].dlast -> CLRPAY(l) L[l].vlast--; total-- \
           :: else -> break od; \
        L[l].vtrim=L[l].dtrim \
     :: d==I -> \
        do :: L[l].vw>L[l].dw -> L[l].got[L[l].vw]=0; L[l].vw-- \
           :: else -> break od \
     :: else -> skip fi;
#define CLRPAY(l) L[l].pay[L[l].vlast]=0;
inline DOCRASH(I) {
  FORLINKS(CRASHL) MBCRASH(I)
#ifdef VOLCOL
  vcol[I]=0; dcol[I]=0;
#else
  vcol[I]=dcol[I];
#endif
  k=1;
  do :: k<=MAXS ->
        if :: C[k].st[I]==OPEN ->
#ifdef RECUT
              C[k].st[I]=NONE
#else
              if :: dcol[I]>=k -> C[k].st[I]=LOST    /* cannot be taken again */
                 :: else -> C[k].st[I]=NONE fi       /* D unchanged: same cut */
#endif
           :: else -> skip fi; k++
     :: else -> break od; k=0
}
#define A_CRASH(i) :: d_step { crashes<MAXC -> crashes++; DOCRASH(i); k=0 }

/* ---- coordinator tells shard i; upload finished -------------------------- */
#ifdef NODURCOL
#define DURCOL(i,n) true
#define COLDIRTY(i)
#else
#define DURCOL(i,n) dcol[i]>=n
#define COLDIRTY(i) || (vcol[i]!=dcol[i])
#endif
#define A_COORD(i) :: d_step { vcol[i]<started -> TAKE(i,started); k=0 }
#define A_PERSIST(i) \
  :: d_step { (started>=1 && C[1].st[i]==OPEN && DURCOL(i,1)) -> C[1].st[i]=DONE; CHECK(1); k=0 } \
  PERSIST2(i)
#if MAXS>1
#define PERSIST2(i) :: d_step { (started>=2 && C[2].st[i]==OPEN && DURCOL(i,2)) -> C[2].st[i]=DONE; CHECK(2); k=0 }
#else
#define PERSIST2(i)
#endif
#ifdef RECUT
#define CUTLINK2(l,s,d) \
   if :: (s==I) -> C[1].last[l]=L[l].dlast; C[1].trim[l]=L[l].dtrim \
      :: (d==I) -> C[1].w[l]=L[l].dw \
      :: else -> skip fi;
inline REDO(I) { FORLINKS(CUTLINK2) C[1].st[I]=OPEN }
#define A_RECUT(i) :: d_step { started>=1 && C[1].st[i]==NONE && vcol[i]>=1 -> REDO(i) }
#else
#define A_RECUT(i)
#endif

#if N==2
#define ALL(n,x) (C[n].st[0]==x && C[n].st[1]==x)
#define ANY(n,x) (C[n].st[0]==x || C[n].st[1]==x)
#else
#define ALL(n,x) (C[n].st[0]==x && C[n].st[1]==x && C[n].st[2]==x)
#define ANY(n,x) (C[n].st[0]==x || C[n].st[1]==x || C[n].st[2]==x)
#endif
#define C1C2(l,s,d) \
   assert(C[J].w[l] <= C[J].last[l]);   /* C1: no orphan: receiver's cut has nothing from after sender's cut */ \
   assert(C[J].trim[l] <= C[J].w[l]);   /* C2: no loss: sender's cut still holds all the receiver's cut lacks */
#ifdef TERM
#define IFL(J,l) (C[J].w[l]==C[J].last[l])
#define NQ(l) (L[l].dw==L[l].dlast && L[l].vw==L[l].dw && L[l].vlast==L[l].dlast)
#if N==2
#ifdef TERMSUM
#define QUIET(J) (C[J].w[0]+C[J].w[1]==C[J].last[0]+C[J].last[1])
#else
#define QUIET(J) (IFL(J,0)&&IFL(J,1))
#endif
#define NOWQUIET (NQ(0)&&NQ(1)&&vmb[0]==0&&vmb[1]==0&&dmb[0]==0&&dmb[1]==0)
#else
#ifdef TERMSUM
#define QUIET(J) (C[J].w[0]+C[J].w[1]+C[J].w[2]+C[J].w[3]==C[J].last[0]+C[J].last[1]+C[J].last[2]+C[J].last[3])
#else
#define QUIET(J) (IFL(J,0)&&IFL(J,1)&&IFL(J,2)&&IFL(J,3))
#endif
#define NOWQUIET (NQ(0)&&NQ(1)&&NQ(2)&&NQ(3)&&vmb[0]==0&&vmb[1]==0&&vmb[2]==0&&dmb[0]==0&&dmb[1]==0&&dmb[2]==0)
#endif
#endif
inline CHECK(J) {
  if :: ALL(J,DONE) ->
#ifdef REACH1   /* vacuity check: a complete snapshot with messages in flight must be reachable */
        assert(!(C[J].w[0] < C[J].last[0] && C[J].w[1] < C[J].last[1] && C[J].trim[0]>0));
#endif
#ifdef REACH2   /* ... and two overlapping ones */
        assert(!(ALL(1,DONE) && ALL(2,DONE) && C[1].w[0] < C[2].w[0]));
#endif
#ifndef NOC1C2
        FORLINKS(C1C2)
#endif
#ifdef TERM
        if :: (C[J].mb[0]==0 && C[J].mb[1]==0
#if N==3
               && C[J].mb[2]==0
#endif
               && QUIET(J)) -> assert(NOWQUIET)
           :: else -> skip fi
#endif
     :: else -> skip fi
}
#ifdef TERM
#define A_EAT(i) :: d_step { vmb[i]>0 -> vmb[i]-- }
#else
#define A_EAT(i)
#endif

/* ---- restore all shards to complete snapshot 1, new timeline ------------- */
#if MAXR>0
#define RESTL(l,s,d) \
  L[l].olast=L[l].dlast; k=1; \
  do :: k<=MAXM -> L[l].opay[k]=L[l].pay[k]; \
        L[l].scol[k]=started; L[l].acol[k]=started; \
        if :: k>C[1].last[l] -> L[l].pay[k]=0 :: else -> skip fi; \
        if :: k>C[1].w[l] -> L[l].got[k]=0 :: else -> skip fi; \
        k++ \
     :: else -> break od; k=0; \
  L[l].dlast=C[1].last[l]; L[l].vlast=C[1].last[l]; \
  L[l].dtrim=C[1].trim[l]; L[l].vtrim=C[1].trim[l]; \
  L[l].dw=C[1].w[l]; L[l].vw=C[1].w[l];
#define RESTS(i) dcol[i]=started; vcol[i]=started;
#define A_RESTORE \
  :: d_step { restores<MAXR && started>=1 && ALL(1,DONE) -> restores++; total=0; \
       FORLINKS(RESTL) FORSHARDS(RESTS) k=0 }
#ifdef NOTIMELINE
#define A_OLD(l,s,d) :: d_step { restores>0 && L[l].vw < L[l].olast -> \
       L[l].vw++; L[l].got[L[l].vw]=L[l].opay[L[l].vw] }
#else
#define A_OLD(l,s,d)
#endif
#else
#define A_RESTORE
#define A_OLD(l,s,d)
#endif

byte k=0;
#define FIN(l,s,d) && (L[l].dlast==L[l].dw && L[l].dw==L[l].dtrim)
init {
#ifdef TERM
  d_step { dmb[0]=INIT0; vmb[0]=INIT0; }  /* the computation starts with INIT0 messages at shard 0 */
#endif
end:
  do
  FORLINKS(A_RECV) FORLINKS(A_GAP) FORLINKS(A_SEND0) FORLINKS(A_SEND1) FORLINKS(A_ACK) FORLINKS(A_OLD)
  FORSHARDS(A_COMMIT) FORSHARDS(A_CRASH) FORSHARDS(A_COORD) FORSHARDS(A_PERSIST) FORSHARDS(A_RECUT) FORSHARDS(A_EAT)
  A_RESTORE
  :: d_step { started<MAXS -> started++ }
  :: timeout ->                            /* nothing left to do: liveness by termination */
       assert(true FORLINKS(FIN));         /* every message delivered, outboxes empty */
       assert(ALL(1,DONE) || ANY(1,LOST) || restores>0); /* snapshot complete unless a cut was lost */
       break
  od
}
