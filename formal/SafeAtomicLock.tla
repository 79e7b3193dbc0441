--------------------------- MODULE SafeAtomicLock ---------------------------
(***************************************************************************)
(* The kernel-backed lock of safeatomic: `<target>.lock`.                  *)
(*                                                                         *)
(* A lock is a file.  It is HELD while the file's name exists; its holder  *)
(* is ALIVE while the kernel says so: the holder keeps an exclusive flock  *)
(* on the inode, and death in any form drops it.  This module follows any  *)
(* number of processes through acquiring, taking over a dead lock,         *)
(* publishing, and releasing, one system call per action where the system  *)
(* call can be seen by others, with kills, machine crashes, foreign locks, *)
(* corrupt locks and forced removal happening between any two of them.     *)
(*                                                                         *)
(* Action names begin with the step word of the protocol: Acquire,         *)
(* Publish, Seal, Release.  Seal stands for Settle and Seal.  Gate comes   *)
(* before; Stage, Fill, Harden and Announce do not touch the lock, and     *)
(* happen while a process is at "held".                                    *)
(*                                                                         *)
(* ASSUMPTIONS                                                             *)
(*  A1 link() creates a name only if there is none, in one instant;        *)
(*     unlink(), rename() and stat() are instants too (POSIX, local        *)
(*     filesystem; network filesystems are outside the contract).          *)
(*  A2 flock() belongs to the open file description and is gone as soon as *)
(*     its process is dead.  A process of the model is one attempt with    *)
(*     its own descriptor, so two threads are two processes of the model.  *)
(*     That a forked child drops the descriptors is checked by tests, not  *)
(*     here: the model is fork-free. Only the command under `safeatomic     *)
(*     lock` keeps its wrapper's descriptor; both are one process here.     *)
(*  A3 An inode number is reused only once the inode has neither a name    *)
(*     nor an open descriptor.                                             *)
(*  A4 After a machine crash the lock's name may be there or not, whatever *)
(*     was last seen, and its payload may be lost; the file mode (with the *)
(*     crash mark) is not lost separately from the name.                   *)
(*  A5 Who is not this library leaves our lock files alone, except by      *)
(*     removing the name (that is Force, whoever does it).  A foreign tool *)
(*     creates its lock only where there is no name and removes only its   *)
(*     own.                                                                *)
(*                                                                         *)
(* NOT COVERED                                                             *)
(*  - Between PublishCheck and PublishRename, between ReleaseCheck and     *)
(*    ReleaseUnlink, and between AcquireCheckStale and AcquireUnlinkStale  *)
(*    lies an instant in which Force can strike.  POSIX has no "rename if" *)
(*    and no "unlink if".  The ghost `overtaken` names the processes that  *)
(*    were caught there, and the invariants say exactly this much: the     *)
(*    damage is confined to them and to the locks they remove.  The run    *)
(*    lock-window shows that the window is real.                           *)
(*  - release_stale_lock(max_age_s=...) on a lock whose owner's liveness   *)
(*    is unknown: that is the caller's assertion, as Force is.             *)
(*  - Fairness among waiters (there is no queue), time, the bounds on      *)
(*    retries and rounds in the code, the contents of data files, temps    *)
(*    and their sweeping.                                                  *)
(*  - Somebody else holding a flock on a dead lock for ever.               *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
  Processes,  \* the processes (attempts) that use the lock
  Inspectors, \* those of them that also call inspect_lock, is_stale_lock and release_stale_lock
  Wrappers,   \* those of them that are `safeatomic lock` around a command, which inherits the descriptor
  MaxIno,     \* inode numbers 1..MaxIno; EnoughInodes shows that they suffice
  Bounded,    \* whether kills, machine crashes, Force and foreign locks are limited in number ...
  Budget,     \* ... and to how many
  Broken      \* "none", or the name of one deliberate defect

Inodes == 1..MaxIno
None   == 0

Variants == {"none", "visible-early", "release-blind", "release-early", "stale-by-pid", "pid-reuse",
             "takeover-no-flock", "takeover-no-name-check", "publish-unchecked", "foreign-as-dead",
             "number-reuse", "no-crash-mark", "exclusive-probe", "forgets-lost", "borrowed-released",
             "not-inherited"}
ASSUME Broken \in Variants /\ MaxIno \in Nat /\ Bounded \in BOOLEAN /\ Budget \in Nat

(***************************************************************************)
(* kind[i]   what a reader of the inode in use i finds:                    *)
(*   blank    made by us, nothing in it yet                                *)
(*   ours     complete payload that says kernel_lock                       *)
(*   mark     ours, payload lost in a crash, the crash mark still there    *)
(*   foreign  another tool's lock, its owner not known to be dead          *)
(*   orphan   another tool's lock, its owner provably dead                 *)
(*   corrupt  unparseable                                                  *)
(***************************************************************************)
Kinds == {"blank", "ours", "mark", "foreign", "orphan", "corrupt"}
Alien == {"foreign", "orphan", "corrupt"}

VARIABLES
  name,       \* the inode that `<target>.lock` points to, or None
  kind,       \* of every inode in use
  ex,         \* flock table: <<p, i>> when p holds inode i exclusively
  sh,         \* flock table: <<p, i>> when p holds it shared
  own,        \* the inode that p made and keeps open, or None
  seen,       \* the inode that p found at the name and keeps open, or None
  pc,         \* where p is
  orphans,    \* wrappers that are dead while their command runs on
  ousted,     \* ghost: holders whose name was removed by Force
  overtaken,  \* ghost: processes that Force caught between an identity check and the act it guards
  spent       \* disturbances so far, if bounded

Ghosts == <<ousted, overtaken, spent>>
vars == <<name, kind, ex, sh, own, seen, pc, orphans, ousted, overtaken, spent>>

Places == {"idle",
           "link",       \* has a complete inode that nobody else can reach; about to link it to the name
           "open",       \* the name was taken; about to open what is there
           "probe",      \* it is one of ours; about to ask the kernel by a shared flock
           "probed",     \* has the shared flock, so the holder is dead
           "stale",      \* about to flock the dead lock exclusively
           "check",      \* has it; about to compare the name with it
           "unlink",     \* the same; about to unlink the name
           "drop",       \* the name is gone or was another's; about to close the stale inode and link again
           "held",       \* holds the lock; Stage, Fill, Harden, Announce happen here, and whatever the holder of a
                         \* lock of its own does between two writes
           "lost",       \* a write under a lock of its own found it lost; this is remembered until release_lock
           "rename",     \* has checked the lock; about to rename the data over the target
           "seal",       \* the target is new; Settle, Seal
           "release",    \* about to check that the name is still ours
           "relunlink",  \* it is; about to unlink it
           "close",      \* about to close the descriptor, which frees the flock
           "fill"}       \* only where the lock is visible before it is complete

(***************************************************************************)
(* Vocabulary                                                              *)
(***************************************************************************)
\* p believes that it holds the lock.
Holds(p) == pc[p] \in {"held", "rename", "seal", "release", "relunlink"}

\* p keeps inode i open.  (The defect "number-reuse" closes it and remembers the number.)
Pins(p, i) == \/ own[p] = i
              \/ seen[p] = i /\ ~(Broken = "number-reuse" /\ pc[p] = "stale")
InUse(i) == name = i \/ \E p \in Processes : Pins(p, i)
Unused == Inodes \ DOMAIN kind

\* Inode numbers mean nothing but "the same" and "another", so the lowest free one stands for any; it is also the
\* choice that reuses numbers soonest.
Fresh == CHOOSE i \in Unused : \A j \in Unused : i <= j

\* Last in every action, when name', own', seen', pc' are known: an inode that nobody refers to is freed.
ReapAs(k) == /\ kind' = [i \in {j \in DOMAIN k : InUse(j)'} |-> k[i]]
             /\ orphans' = {p \in orphans : pc'[p] # "idle"}
Reap == ReapAs(kind)

Go(p, place) == pc' = [pc EXCEPT ![p] = place]

\* Every descriptor of p is closed, by itself or by its death.
CloseAll(p) == /\ ex' = {f \in ex : f[1] # p} /\ sh' = {f \in sh : f[1] # p}
               /\ own' = [own EXCEPT ![p] = None] /\ seen' = [seen EXCEPT ![p] = None]
               /\ Go(p, "idle")
               /\ ousted' = ousted \ {p} /\ overtaken' = overtaken \ {p}

\* Contention is an answer: p gives up, or keeps its own inode and tries to link it again later.
Turned(p) == \/ CloseAll(p)
             \/ /\ own[p] # None /\ Go(p, "link")
                /\ seen' = [seen EXCEPT ![p] = None] /\ UNCHANGED <<own, ex, sh, ousted, overtaken>>
Contended(p) == Turned(p) /\ UNCHANGED spent

\* p has found the name to be its own, or the dead lock's, and is about to act on that.
Guarding(p) == \/ pc[p] \in {"rename", "relunlink"} /\ own[p] = name
               \/ pc[p] = "unlink" /\ seen[p] = name

\* The name is removed, by = {p}, or by Force, by = {}.  A process that was overtaken does what Force made it do.
Removal(by) ==
  /\ name' = None
  /\ IF name # None /\ by \subseteq overtaken
     THEN /\ ousted' = (ousted \cup {p \in Processes : Holds(p) /\ own[p] = name}) \ by
          /\ overtaken' = (overtaken \cup {p \in Processes : Guarding(p)}) \ by
     ELSE ousted' = ousted \ by /\ overtaken' = overtaken \ by

Disturb == IF Bounded THEN spent < Budget /\ spent' = spent + 1 ELSE UNCHANGED spent

(***************************************************************************)
(* Acquire: link a complete lock to the name, or find out who has it       *)
(***************************************************************************)
\* O_TMPFILE (or a temporary name), flock, payload, in one action: nobody else can reach the inode yet.
PrepareAt(p, i) ==
  /\ pc[p] = "idle" /\ i \in Unused
  /\ own' = [own EXCEPT ![p] = i] /\ Go(p, "link")
  /\ ex' = IF Broken = "visible-early" THEN ex ELSE ex \cup {<<p, i>>}
  /\ UNCHANGED <<name, seen, sh, Ghosts>>
  /\ ReapAs(i :> (IF Broken = "visible-early" THEN "blank" ELSE "ours") @@ kind)

AcquirePrepare(p) ==
  IF pc[p] = "fill"
  THEN /\ Go(p, "held") /\ ex' = ex \cup {<<p, own[p]>>}
       /\ UNCHANGED <<name, own, seen, sh, Ghosts>> /\ ReapAs([kind EXCEPT ![own[p]] = "ours"])
  ELSE Unused # {} /\ PrepareAt(p, Fresh)

AcquireLink(p) ==
  /\ pc[p] = "link"
  /\ IF name = None
     THEN name' = own[p] /\ Go(p, IF Broken = "visible-early" THEN "fill" ELSE "held")
     ELSE UNCHANGED name /\ Go(p, "open")
  /\ UNCHANGED <<own, seen, ex, sh, Ghosts>> /\ Reap

\* Somebody else's or unparseable: contention.  release_stale_lock alone (a process without an inode of its
\* own) goes on, and only where the owner is provably dead.
AcquireOpenAlien(p) ==
  /\ pc[p] = "open" /\ name # None
  /\ \/ kind[name] \in Alien \cup {"blank"}
     \/ kind[name] = "mark" /\ Broken = "no-crash-mark"
  /\ IF Broken = "foreign-as-dead" \/ (own[p] = None /\ kind[name] = "orphan")
     THEN seen' = [seen EXCEPT ![p] = name] /\ Go(p, "stale") /\ UNCHANGED <<own, ex, sh, Ghosts>>
     ELSE Contended(p)
  /\ UNCHANGED name /\ Reap

AcquireOpenOurs(p) ==
  /\ pc[p] = "open" /\ name # None
  /\ kind[name] \in (IF Broken = "no-crash-mark" THEN {"ours"} ELSE {"ours", "mark"})
  /\ seen' = [seen EXCEPT ![p] = name] /\ Go(p, "probe")
  /\ UNCHANGED <<name, own, ex, sh, Ghosts>> /\ Reap

\* Gone in the meantime: link again.
AcquireOpenGone(p) ==
  /\ pc[p] = "open" /\ name = None
  /\ IF own[p] # None THEN Go(p, "link") /\ UNCHANGED <<own, seen, ex, sh, Ghosts>> ELSE Contended(p)
  /\ UNCHANGED name /\ Reap

ExclusiveOn(i) == \E p \in Processes : <<p, i>> \in ex
SharedOn(i)    == \E p \in Processes : <<p, i>> \in sh

\* What the two PID defects ask instead of the flock table.  One process lives in another PID namespace: its
\* PID means nothing to the others, and theirs mean nothing to it.
Elsewhere == CHOOSE p \in Processes : TRUE
SeemsDead(p, i) ==
  CASE Broken = "stale-by-pid" -> \A q \in Processes : own[q] = i => (q = Elsewhere) # (p = Elsewhere)
    [] Broken = "pid-reuse"    -> FALSE     \* by now some other process has that PID
    [] OTHER                   -> ~ExclusiveOn(i)

\* Shared, so that two probers never take each other for the holder.
AcquireProbeShared(p) ==
  /\ pc[p] = "probe"
  /\ IF SeemsDead(p, seen[p])
     THEN /\ IF Broken = "exclusive-probe" THEN ex' = ex \cup {<<p, seen[p]>>} /\ UNCHANGED sh
                                           ELSE sh' = sh \cup {<<p, seen[p]>>} /\ UNCHANGED ex
          /\ Go(p, "probed") /\ UNCHANGED <<own, seen, Ghosts>>
     ELSE Contended(p)
  /\ UNCHANGED name /\ Reap

\* The probe is over.  inspect_lock and is_stale_lock end here.
AcquireProbeEnd(p) ==
  /\ pc[p] = "probed"
  /\ \/ /\ sh' = sh \ {<<p, seen[p]>>} /\ ex' = ex \ {<<p, seen[p]>>}
        /\ Go(p, "stale") /\ UNCHANGED <<own, seen, Ghosts>>
     \/ own[p] = None /\ CloseAll(p) /\ UNCHANGED spent
  /\ UNCHANGED name /\ Reap

\* LOCK_EX|LOCK_NB.  If it fails, another probe tells whether only probers are in the way.
AcquireFlockStale(p) ==
  /\ pc[p] = "stale"
  /\ IF Broken \in {"takeover-no-flock", "stale-by-pid", "pid-reuse"}
     THEN Go(p, "check") /\ UNCHANGED <<own, seen, ex, sh, Ghosts>>
     ELSE IF Broken = "number-reuse" /\ name # seen[p]
     THEN Contended(p)
     ELSE IF ExclusiveOn(seen[p]) \/ SharedOn(seen[p])
     THEN Go(p, "probe") /\ UNCHANGED <<own, seen, ex, sh, Ghosts>>
     ELSE ex' = ex \cup {<<p, seen[p]>>} /\ Go(p, "check") /\ UNCHANGED <<own, seen, sh, Ghosts>>
  /\ UNCHANGED name /\ Reap

\* It may have been taken over, and even released, since it was opened.
AcquireCheckStale(p) ==
  /\ pc[p] = "check"
  /\ Go(p, IF name = seen[p] \/ Broken = "takeover-no-name-check" THEN "unlink" ELSE "drop")
  /\ UNCHANGED <<name, own, seen, ex, sh, Ghosts>> /\ Reap

AcquireUnlinkStale(p) ==
  /\ pc[p] = "unlink"
  /\ Removal({p}) /\ Go(p, "drop")
  /\ UNCHANGED <<own, seen, ex, sh, spent>> /\ Reap

\* The stale inode is closed.  The next link may be lost to another acquirer; then it starts again with that lock.
AcquireDropStale(p) ==
  /\ pc[p] = "drop"
  /\ IF own[p] = None THEN CloseAll(p) ELSE /\ ex' = ex \ {<<p, seen[p]>>} /\ Go(p, "link")
                                          /\ seen' = [seen EXCEPT ![p] = None]
                                          /\ UNCHANGED <<own, sh, ousted, overtaken>>
  /\ UNCHANGED <<name, spent>> /\ Reap

\* inspect_lock, is_stale_lock, release_stale_lock: the same path without an inode of one's own.
InspectBegin(p) ==
  /\ p \in Inspectors /\ pc[p] = "idle" /\ name # None /\ Go(p, "open")
  /\ UNCHANGED <<name, own, seen, ex, sh, Ghosts>> /\ Reap

(***************************************************************************)
(* Publish, Settle, Seal: what the lock is for                             *)
(***************************************************************************)
\* The lock that the write took, or the one that its context, the process, or the command's wrapper holds, with
\* concurrency="none" as well.
PublishCheck(p) ==
  /\ pc[p] = "held"
  /\ \/ Go(p, IF name = own[p] \/ Broken = "publish-unchecked" THEN "rename" ELSE "release")
     \/ name # own[p] /\ Broken # "publish-unchecked" /\ Go(p, "lost")
  /\ UNCHANGED <<name, own, seen, ex, sh, Ghosts>> /\ Reap

\* The next write under the lock that was lost fails as well: LockError, target unchanged.
PublishLost(p) ==
  /\ pc[p] = "lost"
  /\ Go(p, IF Broken = "forgets-lost" THEN "rename" ELSE "release")
  /\ UNCHANGED <<name, own, seen, ex, sh, Ghosts>> /\ Reap

PublishRename(p) ==
  /\ pc[p] = "rename"
  /\ Go(p, IF Broken = "release-early" THEN "release" ELSE "seal")
  /\ overtaken' = overtaken \ {p}
  /\ UNCHANGED <<name, own, seen, ex, sh, ousted, spent>> /\ Reap

Seal(p) ==
  /\ pc[p] = "seal"
  /\ IF own[p] # None THEN Go(p, "release") /\ UNCHANGED ousted
                      ELSE Go(p, "idle") /\ ousted' = ousted \ {p}
  /\ UNCHANGED <<name, own, seen, ex, sh, overtaken, spent>> /\ Reap

\* A write under a lock that was there before it leaves it held.
SealBorrowed(p) ==
  /\ pc[p] = "seal" /\ own[p] # None
  /\ Go(p, "held")
  /\ name' = IF Broken = "borrowed-released" /\ name = own[p] THEN None ELSE name
  /\ UNCHANGED <<own, seen, ex, sh, Ghosts>> /\ Reap

(***************************************************************************)
(* Release                                                                 *)
(***************************************************************************)
\* After a write, or from "held": release_lock, and a write that failed before Publish.
\* Lost to Force: only the descriptor is closed.
ReleaseCheck(p) ==
  /\ pc[p] \in {"release", "held"} /\ p \notin orphans
  /\ IF name = own[p] \/ (Broken = "release-blind" /\ name # None)
     THEN Go(p, "relunlink") /\ UNCHANGED ousted
     ELSE Go(p, "close") /\ ousted' = ousted \ {p}
  /\ UNCHANGED <<name, own, seen, ex, sh, overtaken, spent>> /\ Reap

\* The name cannot be unlinked, or is left on purpose after a write that could not be undone: the lock stays, and
\* is dead as soon as the descriptor is closed.
ReleaseLeave(p) ==
  /\ pc[p] \in {"held", "seal", "relunlink"} /\ own[p] # None /\ Disturb
  /\ Go(p, "close") /\ ousted' = ousted \ {p} /\ overtaken' = overtaken \ {p}
  /\ UNCHANGED <<name, own, seen, ex, sh>> /\ Reap

ReleaseUnlink(p) ==
  /\ pc[p] = "relunlink" /\ Removal({p}) /\ Go(p, "close")
  /\ UNCHANGED <<own, seen, ex, sh, spent>> /\ Reap

ReleaseClose(p) ==
  /\ pc[p] = "close"
  /\ IF Broken = "release-early" /\ own[p] # None
     THEN /\ ex' = {f \in ex : f[1] # p} /\ own' = [own EXCEPT ![p] = None] /\ Go(p, "seal")
          /\ UNCHANGED <<seen, sh, Ghosts>>
     ELSE CloseAll(p) /\ UNCHANGED spent
  /\ UNCHANGED name /\ Reap

(***************************************************************************)
(* Disturbances, possible at every instant                                 *)
(***************************************************************************)
Kill(p) ==
  /\ pc[p] # "idle" /\ Disturb /\ CloseAll(p) /\ UNCHANGED name /\ Reap

\* The wrapper is killed, the command runs on and keeps the flock. It writes as before; its end is a Kill: the name
\* stays, and the flock is free.
KillWrapper(p) ==
  /\ p \in Wrappers \ orphans /\ pc[p] = "held" /\ Disturb
  /\ ex' = IF Broken = "not-inherited" THEN {f \in ex : f[1] # p} ELSE ex
  /\ UNCHANGED <<name, own, seen, sh, pc, ousted, overtaken>>
  /\ kind' = kind /\ orphans' = orphans \cup {p}

\* Everything volatile is gone.  The name is there or not, with or without its payload.
MachineCrash ==
  /\ Disturb
  /\ pc' = [p \in Processes |-> "idle"]
  /\ own' = [p \in Processes |-> None] /\ seen' = [p \in Processes |-> None]
  /\ ex' = {} /\ sh' = {}
  /\ ousted' = {} /\ overtaken' = {}
  /\ \E k \in {"nothing"} \cup (IF name # None /\ kind[name] \in Alien THEN {kind[name], "orphan", "corrupt"}
                                                                         ELSE {"ours", "mark"}) :
       /\ name' = IF k = "nothing" THEN None ELSE 1
       /\ ReapAs(1 :> k @@ kind)

\* force_release_lock, or rm: the name is removed, whatever it points to.
\* Somebody outside holds a flock on the lock that p looks at: force_release_lock does, for an instant.
Outsider(p) ==
  /\ pc[p] \in {"probe", "stale"} /\ Disturb
  /\ Turned(p) /\ UNCHANGED name /\ Reap

Force ==
  /\ name # None /\ Disturb /\ Removal({})
  /\ UNCHANGED <<own, seen, ex, sh, pc>> /\ Reap

\* Another tool's lock, or something that nobody can parse, gets the name.
AppearsAt(k, i) ==
  /\ name = None /\ i \in Unused /\ Disturb
  /\ name' = i
  /\ UNCHANGED <<own, seen, ex, sh, pc, ousted, overtaken>>
  /\ ReapAs(i :> k @@ kind)
ForeignAppears == Unused # {} /\ AppearsAt("foreign", Fresh)
CorruptAppears == Unused # {} /\ AppearsAt("corrupt", Fresh)

ForeignDies ==
  /\ UNCHANGED <<name, own, seen, ex, sh, pc, Ghosts>>
  /\ \E i \in DOMAIN kind : kind[i] = "foreign" /\ ReapAs([kind EXCEPT ![i] = "orphan"])

\* Its owner removes it; a corrupt one may be cleared by whoever made it.
ForeignLeaves ==
  /\ name # None /\ kind[name] \in {"foreign", "corrupt"}
  /\ name' = None
  /\ UNCHANGED <<own, seen, ex, sh, pc, Ghosts>> /\ Reap

(***************************************************************************)
(* The specification                                                       *)
(***************************************************************************)
Init ==
  /\ name = None /\ spent = 0 /\ orphans = {} /\ ousted = {} /\ overtaken = {}
  /\ kind = <<>> /\ ex = {} /\ sh = {}
  /\ own = [p \in Processes |-> None] /\ seen = [p \in Processes |-> None]
  /\ pc = [p \in Processes |-> "idle"]

Try(p) == \/ AcquirePrepare(p) \/ AcquireLink(p)
          \/ AcquireOpenAlien(p) \/ AcquireOpenOurs(p) \/ AcquireOpenGone(p)
          \/ AcquireProbeShared(p) \/ AcquireProbeEnd(p)
          \/ AcquireFlockStale(p) \/ AcquireCheckStale(p) \/ AcquireUnlinkStale(p) \/ AcquireDropStale(p)
Use(p) == \/ PublishCheck(p) \/ PublishLost(p) \/ PublishRename(p) \/ (p \notin orphans /\ Seal(p))
          \/ ReleaseCheck(p) \/ ReleaseUnlink(p) \/ ReleaseClose(p)
Step(p) == Try(p) \/ Use(p)

World == \/ MachineCrash \/ Force
         \/ ForeignAppears \/ CorruptAppears \/ ForeignDies \/ ForeignLeaves

Next == (\E p \in Processes : \/ Step(p) \/ SealBorrowed(p) \/ InspectBegin(p) \/ ReleaseLeave(p) \/ Outsider(p)
                             \/ Kill(p) \/ KillWrapper(p)) \/ World

Spec == Init /\ [][Next]_vars

(***************************************************************************)
(* Invariants                                                              *)
(***************************************************************************)
TypeOK ==
  /\ name \in Inodes \cup {None}
  /\ DOMAIN kind = {i \in Inodes : InUse(i)} /\ \A i \in DOMAIN kind : kind[i] \in Kinds
  /\ ex \subseteq Processes \X Inodes /\ sh \subseteq Processes \X Inodes
  /\ \A f, g \in ex : f[2] = g[2] => f = g
  /\ \A f \in ex, g \in sh : f[2] # g[2]
  /\ own \in [Processes -> Inodes \cup {None}] /\ seen \in [Processes -> Inodes \cup {None}]
  /\ pc \in [Processes -> Places] /\ orphans \subseteq Wrappers
  /\ ousted \subseteq Processes /\ overtaken \subseteq Processes /\ spent \in Nat

\* The bound on inode numbers cuts no behaviour off.
EnoughInodes == name = None \/ (\E p \in Processes : pc[p] = "idle") => Unused # {}

\* At most one process holds the lock.  A process that lost it to Force does not count, whatever it believes;
\* without Force nobody is ever ousted.
MutualExclusion == Cardinality({p \in Processes : Holds(p) /\ p \notin ousted}) <= 1

\* As long as a live process holds the lock, the name points to its inode, and only Force changes that.
LiveLockNeverRemoved == \A p \in Processes : Holds(p) /\ p \notin ousted => name = own[p]

\* Of all that find the same dead lock, one gets to unlink it, and unlinks nothing else.
OneTakeoverWinner ==
  LET winners == {p \in Processes : pc[p] = "unlink" /\ p \notin overtaken}
  IN Cardinality(winners) <= 1 /\ \A p \in winners : name = seen[p]

\* Fencing. A lock lost before the check is noticed at the check: whoever is about to rename either still has the name,
\* or lost it to Force in the instant after its check. It says so of a write's own lock, of one taken before it, of a
\* wrapper's, and of concurrency="none" under any of them.
FencedPublish == \A p \in Processes : pc[p] = "rename" => name = own[p] \/ p \in overtaken

\* Locks of others and unreadable ones are removed by their makers or by Force; provably dead ones by
\* release_stale_lock too, which has no inode of its own.
ForeignNeverTaken ==
  \A p \in Processes : pc[p] \in {"unlink", "relunlink"} /\ p \notin overtaken /\ name # None =>
    /\ kind[name] \notin {"foreign", "corrupt"}
    /\ kind[name] = "orphan" => own[p] = None

\* Whoever opens the name finds a complete payload, and a flock if the holder lives.
NeverIncomplete ==
  name # None => /\ kind[name] # "blank"
                 /\ \A p \in Processes : own[p] = name => kind[name] = "ours" /\ <<p, name>> \in ex

\* NOT an invariant, with or without defects: the run "window" shows how Force, striking between PublishCheck and
\* PublishRename, leaves two processes that both rename.
NoOverlapEverUnderForce == Cardinality({p \in Processes : pc[p] \in {"rename", "seal"}}) <= 1

(***************************************************************************)
(* Liveness.  Fairness assumed:                                            *)
(*  - a process that can take its next step eventually takes it or dies:   *)
(*    holders finish, and after contention everybody tries again;          *)
(*  - a takeover meets a prober (who holds a shared flock for an instant)  *)
(*    finitely often;                                                      *)
(*  - kills, crashes, Force, foreign locks are finitely many (Bounded).    *)
(* Nothing is said about who gets the lock: there is no queue.             *)
(***************************************************************************)
MeetsProber(p) == pc[p] = "stale" /\ pc'[p] = "probe" /\ SharedOn(seen[p])
Fairness == \A p \in Processes : WF_vars(Step(p)) /\ <>[][~MeetsProber(p)]_vars
FairSpec == Spec /\ Fairness

Dead(i) == kind[i] \in {"ours", "mark"} /\ \A p \in Processes : own[p] # i

\* A crashed holder does not block for ever.
DeadLockInPlace == name # None /\ Dead(name)
DeadHolderDoesNotBlock == DeadLockInPlace ~> ~DeadLockInPlace

\* A free lock is acquired, unless a foreign or corrupt one takes the name.
FreeLockIsAcquired == (name = None) ~> (name # None /\ (kind[name] \in Alien \/ \E p \in Processes : Holds(p)))

(***************************************************************************)
(* For TLC.  Processes may be exchanged.  States that differ only in the   *)
(* numbers of their inodes are one: an inode in use is determined by who   *)
(* refers to it.  (Neither is used where liveness is checked.)             *)
(***************************************************************************)
Symmetry == {f \in Permutations(Processes) : /\ \A p \in Inspectors : f[p] \in Inspectors
                                            /\ \A p \in Wrappers : f[p] \in Wrappers}

View == <<{<<name = i, {p \in Processes : own[p] = i}, {p \in Processes : seen[p] = i}, kind[i],
             {p \in Processes : <<p, i>> \in ex}, {p \in Processes : <<p, i>> \in sh}>> : i \in DOMAIN kind},
          pc, orphans, ousted, overtaken, spent>>
=============================================================================
