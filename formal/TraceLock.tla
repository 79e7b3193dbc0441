------------------------------ MODULE TraceLock ------------------------------
(***************************************************************************)
(* Is a recorded trace a behaviour of SafeAtomicLock?                      *)
(*                                                                         *)
(* trace_lock.py makes the events; TraceReplay says in which order their   *)
(* effects may be followed.  Steps that the code does not report are       *)
(* silent: they are taken between two events of their process, those that  *)
(* lead to the next event.  A process that is killed may have done one     *)
(* effect that it did not live to report.                                  *)
(*                                                                         *)
(* Every step taken here is a step of SafeAtomicLock.  Of orders that      *)
(* differ only in when a process looks at something that cannot change     *)
(* meanwhile, or does something that no other can see, one is tried:       *)
(*  - Passing, places that a process leaves at once.  Failing to link and  *)
(*    opening what is there can be done at the instant of opening; probing *)
(*    a dead lock and flocking it at the instant of the flock.             *)
(*  - Private, steps that are taken as soon as they can be.                *)
(* Forced[t] says whether somebody uses force, or release_stale_lock, in   *)
(* trace t.                                                                *)
(***************************************************************************)
EXTENDS SafeAtomicLock, TraceReplay

VARIABLE extra      \* processes that did an effect they did not live to report

tvars == <<vars, replay, extra>>

TraceInit == Init /\ ReplayInit /\ extra = {}

(* The reported effects.  `ino` is the inode that the event names.          *)
Do(p, e) ==
    \/ e.e = "Prepared" /\ PrepareAt(p, e.ino)
    \/ e.e = "Linked" /\ own[p] = e.ino /\ AcquireLink(p) /\ pc'[p] = "held"
    \/ e.e = "Contended" /\ name = e.ino /\ AcquireOpenAlien(p) /\ pc'[p] \in e.to
    \/ e.e = "Contended" /\ seen[p] = e.ino /\ AcquireProbeShared(p) /\ pc'[p] \in e.to
    \/ e.e = "Contended" /\ seen[p] = e.ino /\ Forced[tid] /\ Outsider(p) /\ pc'[p] \in e.to
    \/ e.e = "StaleFlocked" /\ seen[p] = e.ino /\ AcquireFlockStale(p) /\ pc'[p] = "check"
    \/ e.e = "StaleUnlinked" /\ seen[p] = e.ino /\ name # None /\ AcquireUnlinkStale(p)
    \/ e.e = "Working" /\ pc[p] = "held" /\ UNCHANGED vars
    \/ e.e = "Published" /\ e.checked /\ PublishRename(p)
    \/ e.e = "Settled" /\ pc[p] = "seal" /\ UNCHANGED vars
    \/ e.e = "Sealed" /\ (IF e.borrowing THEN SealBorrowed(p) ELSE Seal(p))
    \/ e.e = "Unlinked" /\ own[p] = e.ino /\ ReleaseUnlink(p)
    \/ e.e = "Lost" /\ own[p] = e.ino /\ ReleaseCheck(p) /\ pc'[p] = "close"
    \/ e.e = "Returned" /\ pc[p] = (IF e.borrowing THEN "held" ELSE "idle") /\ UNCHANGED vars
    \/ e.e = "Began" /\ UNCHANGED vars
    \/ e.e \in {"Ended", "Killed"} /\ Kill(p)     \* either way its descriptors are closed
    \/ e.e \in {"Ended", "Killed"} /\ pc[p] = "idle" /\ UNCHANGED vars
    (* what a test does to the lock from outside, and sees *)
    \/ e.e = "Forced" /\ name # None /\ Force
    \/ e.e = "StaleReleased" /\ own[p] = None /\ name # None /\ AcquireUnlinkStale(p)
    \/ e.e = "Appeared" /\ AppearsAt(e.kind, e.ino)
    \/ e.e = "Died" /\ ForeignDies
    \/ e.e = "Left" /\ ForeignLeaves
    \/ e.e = "Seen" /\ name = e.ino /\ UNCHANGED vars

(* Steps without an event of their own, by the event that they lead to; a   *)
(* kill may come after any of them.                                         *)
Finds == {"Contended", "StaleFlocked", "StaleReleased", "Killed"}
Quiet(p, e) ==
    \/ e \in Finds /\ AcquireLink(p) /\ pc'[p] = "open"
    \/ e \in Finds /\ AcquireOpenOurs(p)
    \/ e = "StaleReleased" /\ AcquireOpenAlien(p) /\ pc'[p] = "stale"
    \/ e \in Finds \ {"Contended"} /\ AcquireProbeShared(p) /\ pc'[p] = "probed"
    \/ AcquireProbeEnd(p) /\ pc'[p] = "stale"
    \/ e = "StaleReleased" /\ own[p] = None /\ AcquireFlockStale(p) /\ pc'[p] = "check"
    \/ AcquireCheckStale(p)
    \/ name = None /\ AcquireUnlinkStale(p)
    \/ AcquireDropStale(p)
    \/ e = "StaleReleased" /\ InspectBegin(p)
    \/ e = "Published" /\ PublishCheck(p)
    \/ e \in {"Unlinked", "Killed"} /\ ReleaseCheck(p)
    \/ e \in {"Prepared", "Returned", "Ended"} /\ ReleaseLeave(p)
    \/ e \notin {"Settled", "Sealed", "Killed"} /\ pc[p] = "seal" /\ (Seal(p) \/ (e = "Returned" /\ SealBorrowed(p)))
    \/ ReleaseClose(p)

(* What others notice of a process that is killed right after.             *)
Effect(p) ==
    \/ AcquireLink(p) /\ pc'[p] = "held"
    \/ AcquireFlockStale(p) /\ pc'[p] = "check"
    \/ name # None /\ AcquireUnlinkStale(p)
    \/ ReleaseUnlink(p)

Follow(p) ==
    LET e == Event(p) IN
    \/ /\ Ready(p)
       /\ \/ Take(p) /\ Do(p, e) /\ UNCHANGED extra
          \/ Quiet(p, e.e) /\ UNCHANGED <<replay, extra>>
          \/ e.e = "Killed" /\ p \notin extra /\ extra' = extra \cup {p} /\ Effect(p) /\ UNCHANGED replay
    (* release_stale_lock() has closed what it removed before a test can say  *)
    (* that it did: then its inode may be in use again already.               *)
    \/ own[p] = None /\ AcquireDropStale(p) /\ UNCHANGED <<replay, extra>>

Passing(p) == pc[p] \in {"open", "probed", "stale"} \cup (IF Forced[tid] THEN {} ELSE {"rename"})

(* `once`: the number of the inode is not used twice in the trace.          *)
Private(p) ==
    LET e == Event(p) IN
    /\ Ready(p)
    /\ \/ e.e = "Began"
       \/ e.e = "Working" /\ pc[p] = "held"
       \/ e.e = "Settled" /\ pc[p] = "seal"
       \/ e.e = "Sealed" /\ pc[p] = "seal"
       \/ e.e \in {"Returned", "Ended", "Killed"} /\ pc[p] = "idle"
       \/ e.e \notin {"Settled", "Sealed", "Killed"} /\ pc[p] = "seal"
       \/ e.e = "Prepared" /\ e.once /\ pc[p] = "idle" /\ e.ino \in Unused
       \/ e.e \in {"Contended", "StaleFlocked"} /\ e.once /\ pc[p] = "link" /\ name = e.ino
       \/ e.e = "Contended" /\ pc[p] = "probe" /\ seen[p] = e.ino /\ ExclusiveOn(e.ino)
       (* Where nobody uses force, nobody else takes the name away from a holder, or from who has flocked a dead lock. *)
       \/ ~Forced[tid] /\ pc[p] = "check"
       \/ ~Forced[tid] /\ pc[p] = "held" /\ e.e = "Published"
       \/ ~Forced[tid] /\ pc[p] \in {"held", "release"} /\ e.e = "Unlinked" /\ name = own[p]

TraceNext ==
    LET first == IF \E p \in Procs : Passing(p) THEN {p \in Procs : Passing(p)}
                 ELSE IF \E p \in Procs : Private(p) THEN {CHOOSE p \in Procs : Private(p)}
                 ELSE Procs
    IN \E p \in first : Follow(p)

TraceSpec == TraceInit /\ [][TraceNext]_tvars
=============================================================================
