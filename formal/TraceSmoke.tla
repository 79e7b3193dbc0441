----------------------------- MODULE TraceSmoke -----------------------------
(***************************************************************************)
(* Is a recorded trace a behaviour of SafeAtomicSmoke?                     *)
(*                                                                         *)
(* trace_smoke.py makes the events.  A process is one writer of the model   *)
(* under the lock and another without.  An event may need silent steps     *)
(* before it, which it names itself in `may`: steps that the code does not *)
(* report, like the clean-up after an error.  The kernel's writeback and a *)
(* sweep are silent too.                                                   *)
(***************************************************************************)
EXTENDS SafeAtomicSmoke, TraceReplay

VARIABLES
    label,      \* [version -> its number in the log]
    real,       \* [inode of the model -> st_ino, numbered per trace]
    extra       \* processes that did an effect they did not live to report

tvars == <<vars, replay, label, real, extra>>

WritersOf(p) == TraceWritersOf[p]

TraceInit ==
    /\ Init /\ ReplayInit
    /\ base = Bases0[tid]
    /\ label = [v \in 0..MaxVersion |-> 0]
    /\ real = [i \in Inodes |-> 0]
    /\ extra = {}

(* The same inode from Stage to Publish, and another than any named one.   *)
Same(w, e)  == real[tmp[w]] = e.ino
Fresh(w, e) == \A i \in Named \ {tmp[w], None} : real[i] # e.ino

Keep == UNCHANGED <<label, real, extra>>

Do(e) ==
    LET w == e.w IN
    \/ /\ e.e = "Gate" /\ e.exists = (target # None) /\ Gate(w)
       /\ label' = [label EXCEPT ![next + 1] = e.v] /\ UNCHANGED <<real, extra>>
    \/ e.e = "Acquire" /\ Acquire(w) /\ Keep
    \/ e.e = "AcquireFails" /\ AcquireFails(w) /\ Keep
    \/ /\ e.e = "Stage" /\ StageFlock(w) /\ Fresh(w, e)
       /\ real' = [real EXCEPT ![tmp[w]] = e.ino] /\ UNCHANGED <<label, extra>>
    \/ e.e = "Fill" /\ Fill(w) /\ Keep
    \/ e.e = "Harden" /\ Same(w, e) /\ Harden(w) /\ Keep
    \/ e.e = "Publish" /\ Same(w, e) /\ e.checked = (w \notin Unlocked) /\ Publish(w) /\ Keep
    \/ e.e = "Settle" /\ Settle(w) /\ Keep
    \/ e.e = "SettleFails" /\ SettleFails(w) /\ Keep
    \/ e.e = "Release" /\ Release(w) /\ Keep
    \/ e.e = "kill" /\ Kill(w) /\ Keep
    \/ e.e = "kill" /\ pc[w] = "idle" /\ UNCHANGED vars /\ Keep
    \/ /\ e.e = "crash" /\ e.saw = (IF AfterCrash > 0 THEN label[AfterCrash] ELSE AfterCrash)
       /\ Crash /\ Keep

(* Of the effects of one process, another can notice only a new target and *)
(* a lock or an inode that became free.  The other events are followed in  *)
(* the order of the log: that loses no explanation, and saves TLC work.    *)
InTurn(p) ==
    /\ Ready(p)
    /\ \/ pos[p] = At
       \/ Event(p).e \in {"Publish", "Release", "kill"}
       \/ Event(p).e = "Gate" /\ (~Event(p).exists \/ Event(p).may # {})

Unseen(w) == Publish(w) \/ Release(w)

Silent(p) ==
    LET e == Event(p) IN
    LET w == e.w IN
    /\ InTurn(p)
    /\ \/ "Acquire" \in e.may /\ Acquire(w) /\ UNCHANGED extra
       \/ "Stage" \in e.may /\ Stage(w) /\ UNCHANGED extra
       \/ "Discard" \in e.may /\ Discard(w) /\ UNCHANGED extra
       \/ "Publish" \in e.may /\ Publish(w) /\ UNCHANGED extra
       \/ "SettleFails" \in e.may /\ SettleFails(w) /\ UNCHANGED extra
       \/ "Release" \in e.may /\ Release(w) /\ UNCHANGED extra
       \/ "Unseen" \in e.may /\ p \notin extra /\ Unseen(w) /\ extra' = extra \cup {p}

(* A process whose events have come to an end because the log ends.        *)
Unreported(p) ==
    /\ ~Pending(p) /\ p \notin extra /\ extra' = extra \cup {p}
    /\ \E w \in WritersOf(p) : Unseen(w)

(* Needed only where a crash is to come.                                   *)
Background == Trace[Len(Trace)].e = "crash" /\ WritebackTarget

(* A dead writer's temp was swept, if its inode's number comes up again.   *)
(* One that was swept before its flock is as one that never was: the code  *)
(* reports Stage when it has a temp to keep.                               *)
Swept == \E p \in Procs, i \in Inodes \ Opened :
            Ready(p) /\ Event(p).e = "Stage" /\ real[i] = Event(p).ino /\ Sweep(i)

TraceNext ==
    \/ \E p \in Procs : InTurn(p) /\ Take(p) /\ Do(Event(p))
    \/ /\ UNCHANGED <<replay, label, real>>
       /\ \/ \E p \in Procs : Silent(p) \/ Unreported(p)
          \/ (Background \/ Swept) /\ UNCHANGED extra

TraceSpec == TraceInit /\ [][TraceNext]_tvars
=============================================================================
