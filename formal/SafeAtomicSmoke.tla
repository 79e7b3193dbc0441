--------------------------- MODULE SafeAtomicSmoke ---------------------------
(***************************************************************************)
(* Replacing one file: Gate Acquire Stage Fill Harden Publish Settle       *)
(* Release, over a page cache and a disk that are written back at their    *)
(* own pace, with processes that are killed and machines that crash        *)
(* between any two steps.                                                  *)
(*                                                                         *)
(* What is modelled                                                        *)
(*   - One directory with one target name and any number of temp names.    *)
(*     The directory exists twice: as running processes see it (the cache: *)
(*     target, temps) and as the disk holds it (targetD, tempsD).          *)
(*   - Inodes with a body of several blocks, each block cached and on disk *)
(*     separately, so that a file may be torn.  A block that was never     *)
(*     written is a Hole: NULs, or beyond the end of the file.             *)
(*   - The kernel may write back any block of any file, the target's entry *)
(*     or any temp's entry at any moment and in any order.                 *)
(*   - Writers, those in Unlocked with concurrency="none", the others      *)
(*     under the lock.  Every write carries a new version, 1, 2, 3 ...;    *)
(*     version 0 is what was there before: a file, or nothing.             *)
(*   - Readers that open the target and then read block by block.          *)
(*   - A process killed, the machine crashed, a call failing, at any step. *)
(*     Temps left behind, swept by whoever finds their flock free; Stage   *)
(*     that loses its new temp to a sweeper between open and flock.        *)
(*                                                                         *)
(* What is assumed                                                         *)
(*   - rename(2) replaces the target in one step for running processes,    *)
(*     and the target's entry on disk is the old or the new one.  That the *)
(*     temp name goes in the same instant is NOT assumed.                  *)
(*   - fsync of a file that succeeds has put all of its blocks on disk,    *)
(*     and no entry of its directory.  fsync of a directory that succeeds  *)
(*     has put all its entries on disk, and no block.  A disk that         *)
(*     acknowledges a flush keeps it.                                      *)
(*   - fsync of a file that fails leaves unwritten blocks that no later    *)
(*     fsync will write (they are marked clean).                           *)
(*   - An inode on disk is not reused while a name on disk points to it.   *)
(*   - The lock excludes and is freed by death: SafeAtomicLock shows it.   *)
(*                                                                         *)
(* What is not covered: the lock file itself and force_release_lock        *)
(* (SafeAtomicLock), the checksum sidecar (SafeAtomicChecksum), moves,     *)
(* metadata, several directories, hard links made by others, writers that  *)
(* are not this library, media that lose what they held.  Announce and     *)
(* Seal do not appear; a directory flush they make could only help.        *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
    Writers,        \* processes or threads that write
    Unlocked,       \* those of them that pass concurrency="none"
    Readers,        \* they change nothing, so one is as telling as many
    MaxVersion,     \* number of writes, interrupted ones included
    Blocks,         \* blocks of a file body
    NInodes,        \* size of the inode table
    Bases,          \* was there a file at the beginning? {TRUE}, {FALSE} or both
    Broken          \* "none", or the one idea that is switched off

VARIABLES
    target, targetD,    \* the target's entry: cached, on disk (inode or None)
    temps, tempsD,      \* inodes that a temp name points to: cached, on disk
    cache, disk,        \* [inode -> [block -> version or Hole]]
    forgotten,          \* inodes with blocks that no fsync will write any more
    lock,               \* who holds the lock, or NoOne
    pc, ver, tmp, fill, \* of each writer: next step, version, inode, blocks written
    next,               \* versions handed out
    log,                \* published versions in the order of their renames
    acked,              \* position in log that a caller was promised
    base,               \* was there a file at the beginning?
    rd, seen            \* of each reader: open file, position last read

names   == <<target, targetD, temps, tempsD>>
bodies  == <<cache, disk, forgotten>>
writers == <<lock, pc, ver, tmp, fill, next>>
ledger  == <<log, acked, base>>
readers == <<rd, seen>>
vars    == <<names, bodies, writers, ledger, readers>>

None   == 0
Hole   == -1
NoOne  == "no one"
Inodes == 1..NInodes
Range  == 1..Blocks
Empty  == [b \in Range |-> Hole]
Of(v)  == [b \in Range |-> v]
Closed == [ino |-> None, got |-> <<>>]
Max(a, b) == IF a > b THEN a ELSE b

Steps == {"gated", "acquired", "staged", "filling", "unhardened", "hardened",
          "published", "hardened late", "settled", "unsettled", "discarded"}

-----------------------------------------------------------------------------
(* Reading the state                                                       *)

(* Position of a version in the order of renames; -1: never published.     *)
Pos(v) == IF v = 0 THEN 0
          ELSE IF \E k \in 1..Len(log) : log[k] = v
               THEN CHOOSE k \in 1..Len(log) : log[k] = v
               ELSE -1

(* A body that is one whole version, that version; otherwise Hole.         *)
Whole(body) == IF \A b \in Range : body[b] = body[1] THEN body[1] ELSE Hole

Missing == -2
Content(name, store) == IF name = None THEN (IF base THEN Missing ELSE 0)
                        ELSE Whole(store[name])
(* What a crash at this very instant would leave at the target's name.     *)
AfterCrash == Content(targetD, disk)

Named     == temps \cup {target}
Opened    == {tmp[w] : w \in Writers} \cup {rd[r].ino : r \in Readers}
OnDisk    == tempsD \cup {targetD}
InUse     == Named \cup Opened \cup OnDisk
(* The writer's own flock on its temp, from Stage to the end of the write. *)
Flocked(i) == \E w \in Writers : tmp[w] = i /\ pc[w] \notin {"idle", "staged"}

-----------------------------------------------------------------------------
(* The last conjunct of every action that changes a name or a body.  What  *)
(* nobody can reach any more the kernel frees.                             *)
Store(c, d) ==
    /\ cache' = [i \in Inodes |-> IF i \in (Named \cup Opened)' THEN c[i] ELSE Empty]
    /\ disk'  = [i \in Inodes |-> IF i \in (Named \cup OnDisk)' THEN d[i] ELSE Empty]

Init ==
    /\ base \in Bases
    /\ target = (IF base THEN 1 ELSE None) /\ targetD = target
    /\ temps = {} /\ tempsD = {}
    /\ cache = [i \in Inodes |-> IF i = target THEN Of(0) ELSE Empty]
    /\ disk = cache /\ forgotten = {}
    /\ lock = NoOne /\ next = 0
    /\ pc = [w \in Writers |-> "idle"] /\ ver = [w \in Writers |-> 0]
    /\ tmp = [w \in Writers |-> None] /\ fill = [w \in Writers |-> 0]
    /\ log = <<>> /\ acked = 0
    /\ rd = [r \in Readers |-> Closed] /\ seen = [r \in Readers |-> 0]

Goto(w, step) == pc' = [pc EXCEPT ![w] = step]
(* The end of a write, in whatever way: nothing of it stays with w.        *)
Forget(w) ==
    /\ Goto(w, "idle")
    /\ ver' = [ver EXCEPT ![w] = 0]
    /\ tmp' = [tmp EXCEPT ![w] = None]
    /\ fill' = [fill EXCEPT ![w] = 0]
Unlock(w) == lock' = IF lock = w THEN NoOne ELSE lock
Leave(w)  == Forget(w) /\ Unlock(w)

-----------------------------------------------------------------------------
(* The write                                                               *)

Gate(w) ==
    /\ pc[w] = "idle" /\ next < MaxVersion
    /\ next' = next + 1 /\ ver' = [ver EXCEPT ![w] = next + 1]
    /\ Goto(w, "gated")
    /\ UNCHANGED <<names, bodies, ledger, readers, lock, tmp, fill>>

Acquire(w) ==
    /\ pc[w] = "gated"
    /\ IF w \in Unlocked THEN UNCHANGED lock ELSE lock = NoOne /\ lock' = w
    /\ Goto(w, "acquired")
    /\ UNCHANGED <<names, bodies, ledger, readers, ver, tmp, fill, next>>

(* Contention is an answer: LockError, nothing touched.  So is any other   *)
(* reason not to get the lock.                                             *)
AcquireFails(w) ==
    /\ pc[w] = "gated" /\ w \notin Unlocked
    /\ Leave(w)
    /\ UNCHANGED <<names, bodies, ledger, readers, next>>

(* open(O_CREAT|O_EXCL): a new inode under a new name.                     *)
FreshInodes == Inodes \ InUse
StageOpens ==
    IF Broken = "in-place" /\ target # None THEN target
    ELSE IF Broken = "fixed-temp-name" /\ temps # {} THEN CHOOSE i \in temps : TRUE
    ELSE CHOOSE i \in FreshInodes : \A j \in FreshInodes : i <= j
Stage(w) ==
    /\ pc[w] = "acquired" /\ FreshInodes # {}
    /\ LET i == StageOpens IN
       /\ tmp' = [tmp EXCEPT ![w] = i]
       /\ IF Broken = "in-place" THEN target' = i /\ UNCHANGED temps
          ELSE temps' = temps \cup {i} /\ UNCHANGED target
       /\ UNCHANGED <<targetD, tempsD, rd>>
       /\ Store([cache EXCEPT ![i] = Empty], disk)
       /\ forgotten' = forgotten \ {i}
    /\ Goto(w, "staged")
    /\ UNCHANGED <<ledger, seen, lock, ver, fill, next>>

(* flock the temp, then look whether the name is still there.              *)
StageFlock(w) ==
    /\ pc[w] = "staged" /\ (tmp[w] \in temps \/ Broken = "in-place")
    /\ Goto(w, "filling")
    /\ UNCHANGED <<names, bodies, ledger, readers, lock, ver, tmp, fill, next>>

StageAgain(w) ==
    /\ pc[w] = "staged" /\ tmp[w] \notin temps /\ Broken # "in-place"
    /\ Goto(w, "acquired")
    /\ tmp' = [tmp EXCEPT ![w] = None]
    /\ UNCHANGED <<names, ledger, readers, lock, ver, fill, next, forgotten>>
    /\ Store(cache, disk)

Fill(w) ==
    /\ pc[w] = "filling" /\ fill[w] < Blocks
    /\ fill' = [fill EXCEPT ![w] = @ + 1]
    /\ cache' = [cache EXCEPT ![tmp[w]] = [@ EXCEPT ![fill[w] + 1] = ver[w]]]
    /\ UNCHANGED <<names, disk, forgotten, ledger, readers, lock, pc, ver, tmp, next>>

(* The order of the three, as the design has it or not.                    *)
HardenAt  == IF Broken = "rename-before-fsync" THEN "published" ELSE "filling"
PublishAt == IF Broken = "rename-before-fsync" THEN "filling" ELSE "hardened"
SettleAt  == IF Broken = "rename-before-fsync" THEN "hardened late" ELSE "published"

Harden(w) ==
    /\ pc[w] = HardenAt /\ fill[w] = Blocks
    /\ disk' = IF Broken = "no-fsync-temp" \/ tmp[w] \in forgotten THEN disk
               ELSE [disk EXCEPT ![tmp[w]] = cache[tmp[w]]]
    /\ Goto(w, IF pc[w] = "published" THEN "hardened late" ELSE "hardened")
    /\ UNCHANGED <<names, cache, forgotten, ledger, readers, lock, ver, tmp, fill, next>>

HardenFails(w) ==
    /\ pc[w] = HardenAt /\ fill[w] = Blocks
    /\ forgotten' = forgotten \cup {tmp[w]}
    /\ Goto(w, IF Broken = "retried-fsync" THEN pc[w] ELSE "unhardened")
    /\ UNCHANGED <<names, cache, disk, ledger, readers, lock, ver, tmp, fill, next>>

(* Any failure before Publish: the temp goes, the target is as it was.     *)
Discard(w) ==
    /\ pc[w] \in {"acquired", "staged", "filling", "unhardened", "hardened"}
    /\ temps' = temps \ {tmp[w]}
    /\ tmp' = [tmp EXCEPT ![w] = None] /\ fill' = [fill EXCEPT ![w] = 0]
    /\ Goto(w, "discarded")
    /\ UNCHANGED <<target, targetD, tempsD, ledger, readers, lock, ver, next>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

(* rename(temp, target)                                                    *)
UnlinkFirst(w) == Broken = "unlink-then-rename" /\ target \notin {None, tmp[w]} /\ fill[w] = Blocks
Publish(w) ==
    /\ pc[w] = PublishAt /\ fill[w] = Blocks
    /\ IF UnlinkFirst(w)
       THEN target' = None /\ UNCHANGED <<temps, log, pc>>
       ELSE /\ target' = tmp[w] /\ temps' = temps \ {tmp[w]}
            /\ log' = Append(log, ver[w])
            /\ Goto(w, "published")
    /\ UNCHANGED <<targetD, tempsD, acked, base, readers, lock, ver, tmp, fill, next>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

(* fsync(directory)                                                        *)
Settle(w) ==
    /\ pc[w] = SettleAt
    /\ IF Broken = "no-directory-fsync" THEN UNCHANGED <<targetD, tempsD>>
       ELSE targetD' = target /\ tempsD' = temps
    /\ Goto(w, "settled")
    /\ UNCHANGED <<target, temps, ledger, readers, lock, ver, tmp, fill, next>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

(* The caller is told that the content is new, its durability unconfirmed. *)
SettleFails(w) ==
    /\ pc[w] = SettleAt
    /\ Goto(w, "unsettled")
    /\ UNCHANGED <<names, bodies, ledger, readers, lock, ver, tmp, fill, next>>

(* The lock goes, the call returns.                                        *)
Release(w) ==
    /\ pc[w] \in {"settled", "unsettled", "discarded"}
    /\ acked' = (IF pc[w] = "settled" THEN Max(acked, Pos(ver[w])) ELSE acked)
    /\ Leave(w)
    /\ UNCHANGED <<names, log, base, readers, next>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

-----------------------------------------------------------------------------
(* Readers                                                                 *)

ReadOpen(r) ==
    /\ rd[r] = Closed /\ target # None
    /\ rd' = [rd EXCEPT ![r].ino = target]
    /\ UNCHANGED <<names, bodies, writers, ledger, seen>>

ReadBlock(r) ==
    /\ rd[r].ino # None /\ Len(rd[r].got) < Blocks
    /\ LET i == IF Broken = "reader-reopens" /\ target # None THEN target ELSE rd[r].ino
       IN rd' = [rd EXCEPT ![r].got = Append(@, cache[i][Len(@) + 1])]
    /\ UNCHANGED <<names, bodies, writers, ledger, seen>>

(* Done, or given up half-way.                                             *)
ReadClose(r) ==
    /\ rd[r].ino # None
    /\ rd' = [rd EXCEPT ![r] = Closed]
    /\ seen' = [seen EXCEPT ![r] = IF Len(rd[r].got) = Blocks
                                   THEN Max(@, Pos(rd[r].got[1])) ELSE @]
    /\ UNCHANGED <<names, writers, ledger>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

-----------------------------------------------------------------------------
(* Everybody else                                                          *)

WritebackBlock(i, b) ==
    /\ i \in Named \ {None} /\ i \notin forgotten /\ cache[i][b] # disk[i][b]
    /\ disk' = [disk EXCEPT ![i] = [@ EXCEPT ![b] = cache[i][b]]]
    /\ UNCHANGED <<names, cache, forgotten, writers, ledger, readers>>

WritebackTarget ==
    /\ targetD # target /\ targetD' = target
    /\ UNCHANGED <<target, temps, tempsD, writers, ledger, readers>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

WritebackTemp(i) ==
    /\ (i \in temps) # (i \in tempsD)
    /\ tempsD' = IF i \in temps THEN tempsD \cup {i} ELSE tempsD \ {i}
    /\ UNCHANGED <<target, targetD, temps, writers, ledger, readers>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

(* Recovery by a later write, or the clean command: a temp whose flock is  *)
(* free is an orphan.                                                      *)
Sweep(i) ==
    /\ i \in temps /\ (~Flocked(i) \/ Broken = "sweep-without-flock")
    /\ Broken = "publishing-recovery" => Whole(cache[i]) # Hole
    /\ temps' = temps \ {i}
    /\ target' = (IF Broken = "publishing-recovery" THEN i ELSE target)
    /\ UNCHANGED <<targetD, tempsD, writers, ledger, readers>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

Kill(w) ==
    /\ pc[w] # "idle"
    /\ Forget(w) /\ IF Broken = "death-keeps-lock" THEN UNCHANGED lock ELSE Unlock(w)
    /\ UNCHANGED <<names, ledger, readers, next>>
    /\ Store(cache, disk) /\ forgotten' = forgotten \cap InUse'

(* What is on disk is all there is.  Renames that did not reach it never   *)
(* happened.                                                               *)
Crash ==
    /\ target' = targetD /\ temps' = tempsD /\ UNCHANGED <<targetD, tempsD>>
    /\ lock' = NoOne
    /\ pc' = [w \in Writers |-> "idle"] /\ ver' = [w \in Writers |-> 0]
    /\ tmp' = [w \in Writers |-> None] /\ fill' = [w \in Writers |-> 0]
    /\ rd' = [r \in Readers |-> Closed] /\ seen' = [r \in Readers |-> 0]
    /\ log' = SubSeq(log, 1, Max(0, IF AfterCrash < 0 THEN 0 ELSE Pos(AfterCrash)))
    /\ forgotten' = {}
    /\ UNCHANGED <<next, acked, base>>
    /\ Store(disk, disk)

-----------------------------------------------------------------------------
Succeeding(w) == \/ Gate(w) \/ Acquire(w)
                 \/ Stage(w) \/ StageFlock(w) \/ StageAgain(w) \/ Fill(w)
                 \/ Harden(w) \/ Publish(w) \/ Settle(w) \/ Release(w)
Failing(w)    == AcquireFails(w) \/ HardenFails(w) \/ Discard(w) \/ SettleFails(w)
Step(w)       == Succeeding(w) \/ Failing(w)

Others == \/ \E w \in Writers : Kill(w)
          \/ \E r \in Readers : ReadOpen(r) \/ ReadBlock(r) \/ ReadClose(r)
          \/ \E i \in Inodes, b \in Range : WritebackBlock(i, b)
          \/ WritebackTarget
          \/ \E i \in Inodes : WritebackTemp(i) \/ Sweep(i)
          \/ Crash

Next == (\E w \in Writers : Step(w)) \/ Others

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What must hold                                                          *)

Bodies == [Inodes -> [Range -> {Hole} \cup 0..MaxVersion]]
TypeOK ==
    /\ {target, targetD} \subseteq Inodes \cup {None}
    /\ temps \subseteq Inodes /\ tempsD \subseteq Inodes /\ forgotten \subseteq Inodes
    /\ cache \in Bodies /\ disk \in Bodies
    /\ lock \in Writers \cup {NoOne} /\ lock \notin Unlocked
    /\ pc \in [Writers -> {"idle"} \cup Steps] /\ ver \in [Writers -> 0..MaxVersion]
    /\ tmp \in [Writers -> Inodes \cup {None}] /\ fill \in [Writers -> 0..Blocks]
    /\ next \in 0..MaxVersion /\ base \in Bases
    /\ Len(log) <= MaxVersion /\ acked \in 0..Len(log)
    /\ \A k \in 1..Len(log) : log[k] \in 1..MaxVersion
    /\ \A r \in Readers : /\ rd[r].ino \in Inodes \cup {None} /\ Len(rd[r].got) <= Blocks
                          /\ seen[r] \in 0..Len(log)

(* No read, finished or not, holds a Hole or bytes of two versions.        *)
NoTornRead ==
    \A r \in Readers : \A k \in 1..Len(rd[r].got) :
        rd[r].got[k] # Hole /\ rd[r].got[k] = rd[r].got[1]

(* A temp is never at the target's name, nor is anything unfinished.       *)
TempNeverVisible ==
    /\ target # None => Whole(cache[target]) # Hole
    /\ \A w \in Writers : pc[w] \in {"staged", "filling", "hardened"}
                          => tmp[w] # target

(* Once there, always there.                                               *)
NeverMissing == target = None => ~base /\ log = <<>>

(* A crash leaves one whole version that was published, or what was there  *)
(* before; nothing half-written, no missing file, no third content.        *)
OldOrNewAfterCrash == AfterCrash >= 0 /\ Pos(AfterCrash) >= 0

(* A crash never loses a write that has returned.                          *)
DurableOnceReturned == AfterCrash >= 0 => Pos(AfterCrash) >= acked

(* No reader sees an older version after a newer one, none sees less than  *)
(* what was promised, and none sees what no writer published.              *)
NoRollback ==
    /\ Content(target, cache) >= 0 => Pos(Content(target, cache)) = Len(log)
    /\ \A r \in Readers :
          Len(rd[r].got) = Blocks /\ rd[r].got[1] >= 0 => Pos(rd[r].got[1]) >= seen[r]

(* A writer's temp is there until the writer itself renames or discards it. *)
LiveTempKept ==
    \A w \in Writers : pc[w] \in {"filling", "hardened"} => tmp[w] \in temps

(* The lock does its work, seen from here.                                 *)
OneLockedWriter ==
    \A w \in Writers \ Unlocked :
        pc[w] \notin {"idle", "gated"} <=> lock = w

-----------------------------------------------------------------------------
(* A write that was begun goes through, whatever became of those before    *)
(* it, unless it is killed itself.  For this no call fails, writers go on, *)
(* orphans are swept and their inodes freed in the end, and neither the    *)
(* lock nor a sweeper that takes each new temp keeps the same writer       *)
(* waiting for ever.                                                       *)
Fairness == /\ \A w \in Writers : /\ WF_vars(Succeeding(w))
                                  /\ SF_vars(StageFlock(w)) /\ SF_vars(Acquire(w))
            /\ \A i \in Inodes : WF_vars(WritebackTemp(i)) /\ WF_vars(Sweep(i))
FairSpec == /\ Init /\ [][(\E w \in Writers : Succeeding(w)) \/ Others]_vars
            /\ Fairness
NextWriteGoesThrough == \A w \in Writers : pc[w] = "gated" ~> pc[w] \in {"settled", "idle"}
=============================================================================
