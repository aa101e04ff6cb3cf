/* fence.pml - take-over of shard A while the old owner is a zombie.
 * SPDX-License-Identifier: Apache-2.0
 * Owner O1 (epoch 1) runs A; the control plane declares it dead (lease expired) and
 * starts O2 (epoch 2).  O1 is only slow: it may go on at any time.  B receives from A.
 *  -DSHARED     O2 opens the SAME store (volume re-attached / same host)
 *      + -DTXNCHECK  every commit compares the owner epoch inside the store's transaction
 *  (else)       O2 starts from a COPY (replica / latest snapshot+log) of A's store
 *      + -DSEAL      the log/replica set is sealed for epoch 1 BEFORE O2 reads the copy
 *      + -DPEERFENCE O2 first gets B's promise to refuse epoch 1 (and B's watermark), then
 *                    starts from the copy - and refuses to serve if B is ahead of the copy
 *  -DRXFENCE    B rejects frames of an epoch lower than the highest it has SEEN (usual design)
 * Content of message = epoch of the owner that created it.
 */
#define MAXM 3
byte last1, last2;           /* stores: outbox length (S1, S2) */
byte p1[MAXM+1], p2[MAXM+1]; /* content */
byte sowner = 1;             /* owner epoch recorded in S1 */
byte mem1 = 0;               /* O1's in-memory view of last */
bool taken, sealed, promised, refused;
byte mem2;
byte bw, bep = 1;            /* B: watermark, highest epoch seen (durable) */
byte got[MAXM+1];
byte fr;                     /* scratch */
byte k;

#ifdef SHARED
#define LAST2 last1
#define P2 p1
#else
#define LAST2 last2
#define P2 p2
#endif

/* invariant: what B has incorporated is what the surviving owner believes it has sent */
#define CHECKB \
  if :: taken && !refused -> assert(bw<=LAST2); k=1; \
        do :: k<=bw -> assert(got[k]==P2[k]); k++ :: else -> break od; k=0 \
     :: else -> skip fi

#ifdef TXNCHECK
#define G_TXN (sowner==1)
#else
#define G_TXN true
#endif
#ifdef SEAL
#define G_SEAL (!sealed)      /* the quorum/log refuses epoch 1 */
#else
#define G_SEAL true
#endif
#ifdef RXFENCE
#define G_RX (bep<=1)
#else
#define G_RX true
#endif
active proctype O1() {
end1: do
  :: d_step { (mem1<MAXM && G_TXN && G_SEAL) -> mem1++; last1=mem1; p1[last1]=1 }   /* commit */
  od
}
active proctype NET1() {      /* frames of O1: anything it has committed, any time */
end3: do
  :: d_step { (bw<last1 && bw<mem1 && !promised && G_RX) -> bw++; got[bw]=p1[bw]; CHECKB; k=0 }
  od
}
active proctype O2() {
#ifdef SHARED
  d_step { taken=1; sowner=2; mem2=last1; CHECKB; k=0 }     /* first txn: claim, then read */
#else
#ifdef SEAL
  sealed=1;
#endif
#ifdef PEERFENCE
  d_step { promised=1; bep=2 }
#endif
  d_step { last2=last1; k=1; do :: k<=MAXM -> if :: k<=last1 -> p2[k]=p1[k] :: else -> p2[k]=0 fi; k++ :: else -> break od; k=0; }
#ifdef LAG                      /* the copy may lack the last commit (asynchronous replication) */
  if :: d_step { last2>0 -> p2[last2]=0; last2-- } :: skip fi;
#endif
  d_step { mem2=last2; taken=1;
#ifdef PEERFENCE
    if :: bw>last2 -> refused=1 :: else -> skip fi;          /* C1 would break: needs a global restore */
#endif
    CHECKB; k=0 }
#endif
end2: do
  :: d_step { mem2<MAXM && !refused -> mem2++; LAST2=mem2; P2[mem2]=2; CHECKB; k=0 }
  :: d_step { bw<mem2 && !refused -> bep=2; bw++; got[bw]=P2[bw]; CHECKB; k=0 }
  od
}
