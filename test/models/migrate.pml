/* migrate.pml - live migration of a slot B -> C "as messages", sender A, and a snapshot across it.
 * SPDX-License-Identifier: Apache-2.0
 * Links A->B, B->C, A->C; network adversary as in snapshot.pml (any released frame, any time,
 * accepted only if seq == W+1).  Every action is one commit.
 *  default  MIGR + FWD + CLOSE protocol, coloured frames
 *  -DNOCLOSE   C applies direct messages as soon as the slot is installed
 *  -DUNCOL     frames are not coloured (cuts at any time)
 *  -DSIDE      slot state travels outside the outbox (file copy), ownership flips at C at any later time
 */
#ifndef K
#define K 4
#endif
#define CL 100
#define MG 200
#define MX 8
byte ab[MX]; byte abc[MX]; byte nab;     /* items + colour, append only */
byte bc[MX]; byte bcc[MX]; byte nbc;
byte ac[MX]; byte acc[MX]; byte nac;
byte n; bool planned, routeC;            /* A */
byte wAB, apB; bool moved, closeB;       /* B */
byte wBC, wAC, apC; bool inst, closed; byte ndone; /* C: ndone = direct msgs applied (others held) */
bit col[3]; bit started;
#ifdef SIDE
bool side; byte sideap;
#endif
/* cut */
bit cs[3];
byte c_nab, c_nac, c_n, c_wAB, c_apB, c_nbc, c_wBC, c_wAC, c_apC, c_ndone; bool c_moved, c_inst;
byte i, e;

/* fold: rebuild the slot from the three cuts: must be exactly 1..c_n in order */
inline EXP(v) { assert(v==e+1); e=v }
#ifdef SIDE
#define FOLDSTATE e=c_apB; if :: c_inst -> e=c_apC :: else -> skip fi
#else
#define FOLDSTATE e=c_apB; \
  if :: c_inst -> e=c_apC :: else -> skip fi
#endif
inline FOLD() {
  assert(c_wAB<=c_nab); assert(c_wBC<=c_nbc); assert(c_wAC<=c_nac);   /* C1 */
  FOLDSTATE;
  i=c_wBC; do :: i<c_nbc -> if :: bc[i]<CL -> EXP(bc[i]) :: bc[i]>=MG -> assert(bc[i]-MG==e) :: else -> skip fi; i++ :: else -> break od;
  i=c_wAB; do :: i<c_nab -> if :: ab[i]<CL -> EXP(ab[i]) :: else -> skip fi; i++ :: else -> break od;
  i=c_ndone; do :: i<c_nac -> EXP(ac[i]); i++ :: else -> break od;
  assert(e==c_n); i=0; e=0
}
inline CUT(x) { if :: col[x]==0 -> col[x]=1; cs[x]=1;
    if :: x==0 -> c_nab=nab; c_nac=nac; c_n=n
       :: x==1 -> c_wAB=wAB; c_apB=apB; c_moved=moved; c_nbc=nbc
       :: x==2 -> c_wBC=wBC; c_wAC=wAC; c_apC=apC; c_ndone=ndone; c_inst=inst fi;
    if :: cs[0]&&cs[1]&&cs[2] -> FOLD() :: else -> skip fi
  :: else -> skip fi }
#ifdef UNCOL
#define C(x,cc)
#else
#define C(x,cc) if :: cc>col[x] -> CUT(x) :: else -> skip fi
#endif
#ifdef SIDE
#define G_SIDE inst
#else
#define G_SIDE true
#endif
init {
end: do
  /* A */
  :: d_step { n<K -> n++; if :: routeC -> ac[nac]=n; acc[nac]=col[0]; nac++ :: else -> ab[nab]=n; abc[nab]=col[0]; nab++ fi }
  :: d_step { planned && !routeC -> routeC=1; ab[nab]=CL; abc[nab]=col[0]; nab++ }
  :: d_step { !planned -> planned=1 }
  /* B */
  :: d_step { wAB<nab -> C(1,abc[wAB]);
       if :: ab[wAB]==CL -> closeB=1; if :: moved -> bc[nbc]=CL; bcc[nbc]=col[1]; nbc++ :: else -> skip fi
          :: else -> if :: moved -> bc[nbc]=ab[wAB]; bcc[nbc]=col[1]; nbc++
                        :: else -> assert(ab[wAB]==apB+1); apB=ab[wAB] fi fi; wAB++ }
  :: d_step { planned && !moved -> moved=1;
#ifdef SIDE
       side=1; sideap=apB;
#else
       bc[nbc]=MG+apB; bcc[nbc]=col[1]; nbc++;
#endif
       if :: closeB -> bc[nbc]=CL; bcc[nbc]=col[1]; nbc++ :: else -> skip fi }
  /* C */
#ifdef SIDE
  :: d_step { side && !inst -> inst=1; apC=sideap }
#endif
  :: d_step { (wBC<nbc && G_SIDE) -> C(2,bcc[wBC]);
       if :: bc[wBC]==CL -> closed=1
          :: bc[wBC]>=MG -> inst=1; apC=bc[wBC]-MG
          :: else -> assert(inst); assert(bc[wBC]==apC+1); apC=bc[wBC] fi; wBC++ }
  :: d_step { wAC<nac -> C(2,acc[wAC]); wAC++ }                       /* accept = hold durably */
#ifdef NOCLOSE
  :: d_step { ndone<wAC && inst -> assert(ac[ndone]==apC+1); apC=ac[ndone]; ndone++ }
#else
  :: d_step { ndone<wAC && closed -> assert(ac[ndone]==apC+1); apC=ac[ndone]; ndone++ }
#endif
  /* snapshot */
  :: d_step { started==0 -> started=1 }
  :: d_step { started && col[0]==0 -> CUT(0); i=0 }
  :: d_step { started && col[1]==0 -> CUT(1); i=0 }
  :: d_step { started && col[2]==0 -> CUT(2); i=0 }
  :: timeout -> assert(apC==K && closed && cs[0]&&cs[1]&&cs[2]); break
  od
}
