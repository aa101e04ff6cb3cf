/* snapshot_fifo.pml - classic Chandy-Lamport MARKERS over FIFO connections that can break.
 * SPDX-License-Identifier: Apache-2.0
 * Two shards, one link each way (cyclic).  Every action commits at once.
 *  default      marker is an ordinary frame in the socket queue; after a reconnect it is
 *               considered sent, data and acks are retransmitted from durable state
 *  -DRESEND     marker is sent again after a reconnect, but "when convenient"
 *  -DSEQMARK    marker is a sequenced outbox entry (retransmitted in order with the data); acks are not
 *  -DHELLO      first frame of every connection carries the sender's cut number (= coloured HELLO)
 *  -DNODISC     connections never break (textbook assumption)
 */
#ifndef MAXM
#define MAXM 2
#endif
#ifdef NODISC
#define MAXD 0
#else
#define MAXD 1
#endif
#define CAP 3
#define DATA 1
#define ACK 2
#define MARK 3
chan ch[2] = [CAP] of { byte, byte };      /* ch[i] : i -> 1-i */
byte last[2], trim[2], w[2];               /* w[i]: watermark of i for messages from 1-i */
byte nx[2] = 1;                            /* next seq to put on the wire */
byte acked[2];                             /* last ack value i put on the wire */
byte cut[2];                               /* 1 = i has cut */
byte cl[2], ct[2], cw[2];                  /* the cut */
byte mk[2];                                /* marker: 0 none 1 to send 2 sent 3 to be re-sent */
byte started, disc, hello[2];
byte t, v;

inline CUT(i) { cut[i]=1; cl[i]=last[i]; ct[i]=trim[i]; cw[i]=w[i]; mk[i]=1;
  if :: cut[0]==1 && cut[1]==1 ->
     assert(cw[0]<=cl[1]); assert(cw[1]<=cl[0]);     /* C1 */
     assert(ct[0]<=cw[1]); assert(ct[1]<=cw[0])      /* C2 */
     :: else -> skip fi }

#ifdef SEQMARK
#define DATAOK(i) (!(mk[i]==1 && nx[i]>cl[i]) )      /* the marker sits at position cl+1 of the sequence */
#define MARKOK(i) (mk[i]==1 && nx[i]==cl[i]+1)
#define ACKOK(i)  (true)                             /* acks are outside the sequence */
#else
#ifdef HELLO
#define DATAOK(i) (hello[i]==0 && !(mk[i]==1 && nx[i]>cl[i]))
#define MARKOK(i) ((mk[i]==1 && nx[i]>cl[i]) || (hello[i]==1))
#define ACKOK(i)  (hello[i]==0 && mk[i]!=1)
#else
#define DATAOK(i) (!(mk[i]==1 && nx[i]>cl[i]))
#define MARKOK(i) ((mk[i]==1 && nx[i]>cl[i]) || mk[i]==3)
#define ACKOK(i)  (mk[i]!=1)
#endif
#endif

#define SHARD(i,j) \
  :: d_step { last[i]<MAXM -> last[i]++ } \
  :: d_step { nx[i]<=last[i] && DATAOK(i) && nfull(ch[i]) -> ch[i]!DATA,nx[i]; nx[i]++ } \
  :: d_step { acked[i]<w[i] && ACKOK(i) && nfull(ch[i]) -> ch[i]!ACK,w[i]; acked[i]=w[i] } \
  :: d_step { MARKOK(i) && nfull(ch[i]) -> ch[i]!MARK,cut[i]; if :: mk[i]!=0 -> mk[i]=2 :: else -> skip fi; hello[i]=0 } \
  :: d_step { started==1 && cut[i]==0 -> CUT(i); t=0 } \
  :: d_step { nempty(ch[j]) -> ch[j]?t,v; \
       if :: t==DATA -> if :: v==w[i]+1 -> w[i]=v :: else -> skip fi \
          :: t==ACK  -> if :: v>trim[i] -> trim[i]=v :: else -> skip fi \
          :: t==MARK -> if :: v==1 && cut[i]==0 -> CUT(i) :: else -> skip fi \
       fi; t=0; v=0 }
#ifdef HELLO
#define RMK(i) hello[i]=1; if :: mk[i]==2 -> mk[i]=2 :: mk[i]==1 -> mk[i]=2 :: else -> skip fi;
#else
#ifdef RESEND
#define RMK(i) if :: mk[i]==2 -> mk[i]=3 :: else -> skip fi;
#else
#ifdef SEQMARK
#define RMK(i) if :: mk[i]==2 && trim[i]<=cl[i] -> mk[i]=1 :: else -> skip fi;   /* marker is behind the first unacked entry */
#else
#define RMK(i)
#endif
#endif
#endif
#define RESET(i) \
  do :: nempty(ch[i]) -> ch[i]?t,v :: empty(ch[i]) -> break od; \
  nx[i]=trim[i]+1; acked[i]=0; RMK(i)
init {
end: do
  SHARD(0,1) SHARD(1,0)
  :: d_step { started==0 -> started=1 }
  :: d_step { disc<MAXD -> disc++; RESET(0) RESET(1) t=0; v=0 }
  od
}
