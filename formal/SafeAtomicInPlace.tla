-------------------------- MODULE SafeAtomicInPlace --------------------------
(***************************************************************************)
(* Writing into a file that is itself a mount point: rename(2) cannot       *)
(* replace it, so the content is copied into it.  What the library promises  *)
(* there: at every instant, and after every kill and crash, there is the old *)
(* file, the new file, or a mixture beside the complete copy, under a name   *)
(* that no sweep removes; and a checked read never raises a false alarm.     *)
(*                                                                         *)
(* Gate opens the file for writing.  Stage and Harden make the complete copy *)
(* beside it.  Announce retires the sidecar durably and gives the copy its   *)
(* name durably.  Publish reserves the space, copies block by block, and     *)
(* truncates last.  Settle flushes the file.  Seal records the checksum as    *)
(* write_checksum_file does.  Release unlinks the copy.                      *)
(*                                                                         *)
(* Assumptions                                                              *)
(*  - One writer at a time.  (The lock beside such a file is not seen by its *)
(*    other mounts: that is why WriterExclusion is reported as Unsupported.) *)
(*  - A crash leaves of each block, of the length and of each directory      *)
(*    entry, independently, any value since the last flush.  A block beyond  *)
(*    what was written is a Hole: NULs.                                      *)
(*  - A flush that succeeds has put everything of its file, or of its        *)
(*    directory, on disk.  A dead writer's lock is taken over as in          *)
(*    SafeAtomicChecksum: flush, sweep the temps.                            *)
(* Not covered: other writers of the file, strangers at the sidecar's name   *)
(* (SafeAtomicChecksum), bit rot, a full directory, retried flushes.         *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
    Lengths,    \* the number of blocks of each write's content; the first is what was there before
    Readers,
    Recorded,   \* whether there is a record at the beginning: a subset of BOOLEAN
    Crashes,    \* how many machine crashes
    Broken      \* "none", or the idea that is switched off

VARIABLES
    body, bodyD,    \* block -> what it holds; what a crash may leave of it
    size, sizeD,    \* the length in blocks; the lengths that a crash may leave
    copy, copyD,    \* write -> where its staged copy is: "none", "temp", "copy"; where a crash may leave it
    sc, scD,        \* the sidecar [id, ds], id 0 = none; what a crash may leave there
    nid,            \* the next sidecar inode
    pc, ver, at,    \* the writer: step, which write, blocks copied (where a reservation failed: the length before it)
    aside,          \* the sidecar that was retired, under a temp's name
    stale,          \* a dead writer's lock lies there
    next,           \* the next write
    crashes,
    rpc, rd         \* of each reader: step, what it has seen

file == <<body, bodyD, size, sizeD>>
dir == <<copy, copyD, sc, scD>>
writer == <<pc, ver, at, aside, stale, next, nid, crashes>>
reader == <<rpc, rd>>
vars == <<file, dir, writer, reader>>

Max(a, b) == IF a > b THEN a ELSE b
Writes == 1..Len(Lengths)
Blocks == 1..(CHOOSE m \in {Lengths[v] : v \in Writes} : \A v \in Writes : Lengths[v] <= m)
Hole == 0
Mixture == 0
NoSc == [id |-> 0, ds |-> {}]

\* Which write's content it is, whole; Mixture otherwise.
Whole(b, s) ==
    LET whole == {v \in Writes : Lengths[v] = s /\ \A k \in 1..s : b[k] = v}
    IN IF whole = {} THEN Mixture ELSE CHOOSE v \in whole : TRUE

NoRead == [got |-> <<>>, s |-> NoSc, h |-> Mixture, res |-> "none"]

Init ==
    /\ body = [k \in Blocks |-> IF k <= Lengths[1] THEN 1 ELSE Hole] /\ bodyD = [k \in Blocks |-> {body[k]}]
    /\ size = Lengths[1] /\ sizeD = {size}
    /\ copy = [v \in Writes |-> "none"] /\ copyD = [v \in Writes |-> {"none"}]
    /\ sc \in {IF r THEN [id |-> 1, ds |-> {1}] ELSE NoSc : r \in Recorded} /\ scD = {sc}
    /\ nid = 2
    /\ pc = "idle" /\ ver = 0 /\ at = 0 /\ aside = NoSc /\ stale = FALSE /\ next = 2 /\ crashes = Crashes
    /\ rpc = [r \in Readers |-> "idle"] /\ rd = [r \in Readers |-> NoRead]

FlushDir == copyD' = [v \in Writes |-> {copy'[v]}] /\ scD' = {sc'}
Go(s) == pc' = s

-----------------------------------------------------------------------------
(* Gate and Acquire: the file opens for writing (EROFS, EACCES and ETXTBSY   *)
(* touch nothing).  A dead writer's lock goes after a flush and a sweep.     *)
Acquire ==
    /\ pc = "idle" /\ next <= Len(Lengths)
    /\ ver' = next /\ next' = next + 1 /\ at' = 0
    /\ stale' = FALSE
    /\ UNCHANGED sc
    /\ copy' = IF stale THEN [v \in Writes |-> IF copy[v] = "temp" THEN "none" ELSE copy[v]] ELSE copy
    /\ IF stale THEN FlushDir ELSE UNCHANGED <<copyD, scD>>
    /\ Go("stage")
    /\ UNCHANGED <<file, aside, nid, crashes, reader>>

(* Stage, Fill and Harden: the whole content, flushed, under a temp's name.  *)
Harden ==
    /\ pc = "stage"
    /\ copy' = [copy EXCEPT ![ver] = "temp"] /\ copyD' = [copyD EXCEPT ![ver] = @ \cup {"temp"}]
    /\ Go(IF sc.id = 0 \/ Broken = "no-retire" THEN "keep" ELSE "retire")
    /\ UNCHANGED <<file, sc, scD, ver, at, aside, stale, next, nid, crashes, reader>>

(* (Broken "pair": as if the file were to be renamed, a record that names    *)
(* both contents.)                                                           *)
AnnounceRetire ==
    /\ pc = "retire"
    /\ aside' = sc
    /\ sc' = IF Broken = "pair" THEN [id |-> nid, ds |-> {ver} \cup sc.ds] ELSE NoSc
    /\ nid' = IF Broken = "pair" THEN nid + 1 ELSE nid
    /\ scD' = scD \cup {sc'}
    /\ Go("barrier")
    /\ UNCHANGED <<file, copy, copyD, ver, at, stale, next, crashes, reader>>

AnnounceBarrier ==
    /\ pc = "barrier"
    /\ UNCHANGED <<copy, sc>> /\ FlushDir
    /\ Go("keep")
    /\ UNCHANGED <<file, ver, at, aside, stale, next, nid, crashes, reader>>

(* The copy's own name, which no sweep removes.                              *)
AnnounceKeep ==
    /\ pc = "keep"
    /\ copy' = IF Broken = "sweepable-copy" THEN copy ELSE [copy EXCEPT ![ver] = "copy"]
    /\ copyD' = [copyD EXCEPT ![ver] = @ \cup {copy'[ver]}]
    /\ Go(IF Broken = "copy-unflushed" THEN "reserve" ELSE "kept")
    /\ UNCHANGED <<file, sc, scD, ver, at, aside, stale, next, nid, crashes, reader>>

AnnounceKept ==
    /\ pc = "kept"
    /\ UNCHANGED <<copy, sc>> /\ FlushDir
    /\ Go("reserve")
    /\ UNCHANGED <<file, ver, at, aside, stale, next, nid, crashes, reader>>

Resize(s) ==
    /\ size' = s /\ sizeD' = sizeD \cup {s}
    /\ UNCHANGED <<body, bodyD>>

(* Publish: from here on a failure leaves a mixture beside the copy.         *)
PublishReserve ==
    /\ pc = "reserve"
    /\ Resize(Max(size, Lengths[ver]))
    /\ Go("copy")
    /\ aside' = NoSc
    /\ UNCHANGED <<dir, ver, at, stale, next, nid, crashes, reader>>

(* No space: the file may have grown all the same.                           *)
PublishReserveFails ==
    /\ pc = "reserve"
    /\ Resize(Max(size, Lengths[ver]))
    /\ Go("give-back")
    /\ at' = size
    /\ UNCHANGED <<dir, ver, aside, stale, next, nid, crashes, reader>>

PublishGiveBack ==
    /\ pc = "give-back"
    /\ Resize(at)
    /\ Go(IF Broken = "give-back-unflushed" THEN "put-back" ELSE "given")
    /\ UNCHANGED <<dir, ver, at, aside, stale, next, nid, crashes, reader>>

PublishGiven ==
    /\ pc = "given"
    /\ bodyD' = [k \in Blocks |-> {body[k]}] /\ sizeD' = {size}
    /\ UNCHANGED <<body, size>>
    /\ Go("put-back")
    /\ UNCHANGED <<dir, ver, at, aside, stale, next, nid, crashes, reader>>

(* The retired sidecar does not come back, since a reader may have seen the  *)
(* longer file between two looks at it; the file has none, which claims      *)
(* nothing.  The copy goes.                                                  *)
PublishPutBack ==
    /\ pc = "put-back"
    /\ sc' = IF Broken = "put-back-late" /\ aside.id # 0 THEN aside ELSE sc
    /\ scD' = scD \cup {sc'}
    /\ aside' = NoSc
    /\ Go("release")
    /\ UNCHANGED <<file, copy, copyD, ver, at, stale, next, nid, crashes, reader>>

(* Before the reservation, a failure puts the same sidecar back.             *)
AnnounceUndo ==
    /\ pc \in {"stage", "retire", "barrier", "keep", "kept", "reserve"}
    /\ sc' = IF aside.id # 0 THEN aside ELSE sc
    /\ scD' = scD \cup {sc'}
    /\ aside' = NoSc
    /\ Go("release")
    /\ UNCHANGED <<file, copy, copyD, ver, at, stale, next, nid, crashes, reader>>

PublishCopy ==
    /\ pc = "copy" /\ at < Lengths[ver]
    /\ at' = at + 1
    /\ body' = [body EXCEPT ![at'] = ver] /\ bodyD' = [bodyD EXCEPT ![at'] = @ \cup {ver}]
    /\ UNCHANGED <<size, sizeD>>
    /\ UNCHANGED <<dir, pc, ver, aside, stale, next, nid, crashes, reader>>

PublishTruncate ==
    /\ pc = "copy" /\ at = Lengths[ver]
    /\ size' = Lengths[ver] /\ sizeD' = sizeD \cup {size'}
    /\ body' = [k \in Blocks |-> IF k <= size' THEN body[k] ELSE Hole]
    /\ bodyD' = [k \in Blocks |-> IF k <= size' THEN bodyD[k] ELSE bodyD[k] \cup {Hole}]
    /\ copy' = IF Broken = "copy-unlinked-early" THEN [copy EXCEPT ![ver] = "none"] ELSE copy
    /\ copyD' = [copyD EXCEPT ![ver] = @ \cup {copy'[ver]}]
    /\ Go(IF Broken = "record-early" THEN "seal" ELSE "settle")
    /\ UNCHANGED <<sc, scD, ver, at, aside, stale, next, nid, crashes, reader>>

(* The copying or the flush failed: a mixture, or a new file of unconfirmed  *)
(* durability, beside the copy, which stays; the lock is left behind.        *)
SettleFails ==
    /\ pc \in {"copy", "settle"}
    /\ Go("idle") /\ stale' = TRUE
    /\ UNCHANGED <<file, dir, ver, at, aside, next, nid, crashes, reader>>

(* fsync of the file itself.                                                 *)
Settle ==
    /\ pc = "settle"
    /\ bodyD' = [k \in Blocks |-> {body[k]}] /\ sizeD' = {size}
    /\ UNCHANGED <<body, size>>
    /\ Go(IF Broken = "record-early" THEN "release" ELSE "seal")
    /\ UNCHANGED <<dir, ver, at, aside, stale, next, nid, crashes, reader>>

(* As write_checksum_file: a record of the content that is durable by now.   *)
Seal ==
    /\ pc = "seal"
    /\ sc' = [id |-> IF Broken = "pair" THEN sc.id ELSE nid, ds |-> {ver}]
    /\ nid' = IF Broken = "pair" THEN nid ELSE nid + 1
    /\ scD' = scD \cup {sc'}
    /\ Go("sealed")
    /\ UNCHANGED <<file, copy, copyD, ver, at, aside, stale, next, crashes, reader>>

SealFlush ==
    /\ pc = "sealed"
    /\ UNCHANGED <<copy, sc>> /\ FlushDir
    /\ Go(IF Broken = "record-early" THEN "settle" ELSE "release")
    /\ UNCHANGED <<file, ver, at, aside, stale, next, nid, crashes, reader>>

(* No checksum was asked for.                                                *)
SealNot ==
    /\ pc = "seal" /\ Broken \notin {"pair", "record-early"}
    /\ Go("release")
    /\ UNCHANGED <<file, dir, ver, at, aside, stale, next, nid, crashes, reader>>

(* The copy is unlinked, the lock goes.                                      *)
Release ==
    /\ pc = "release"
    /\ copy' = [copy EXCEPT ![ver] = "none"] /\ copyD' = [copyD EXCEPT ![ver] = @ \cup {"none"}]
    /\ Go("idle")
    /\ UNCHANGED <<file, sc, scD, ver, at, aside, stale, next, nid, crashes, reader>>

-----------------------------------------------------------------------------
Kill ==
    /\ pc # "idle"
    /\ Go("idle") /\ stale' = TRUE /\ aside' = NoSc
    /\ UNCHANGED <<file, dir, ver, at, next, nid, crashes, reader>>

Crash ==
    /\ crashes > 0 /\ crashes' = crashes - 1
    /\ \E s \in sizeD, b \in [Blocks -> 0..Len(Lengths)], c \in [Writes -> {"none", "temp", "copy"}], d \in scD :
        /\ \A k \in Blocks : IF k <= s THEN b[k] \in bodyD[k] ELSE b[k] = Hole
        /\ \A v \in Writes : c[v] \in copyD[v]
        /\ body' = b /\ bodyD' = [k \in Blocks |-> {b[k]}] /\ size' = s /\ sizeD' = {s}
        /\ copy' = c /\ copyD' = [v \in Writes |-> {c[v]}] /\ sc' = d /\ scD' = {d}
    /\ pc' = "idle" /\ aside' = NoSc /\ stale' = TRUE
    /\ rpc' = [r \in Readers |-> "idle"] /\ rd' = [r \in Readers |-> NoRead]
    /\ UNCHANGED <<ver, at, next, nid>>

-----------------------------------------------------------------------------
(* The reader of SafeAtomicChecksum; the data's inode is always the same.    *)
ReadLook(r) ==
    /\ rpc[r] \in {"idle", "again"}
    /\ rd' = [rd EXCEPT ![r] = [NoRead EXCEPT !.s = sc]] /\ rpc' = [rpc EXCEPT ![r] = "hash"]
    /\ UNCHANGED <<file, dir, writer>>

ReadBlock(r) ==
    /\ rpc[r] = "hash"
    /\ LET got == rd[r].got  k == Len(got) + 1 IN
       IF k <= size THEN rd' = [rd EXCEPT ![r].got = Append(@, body[k])] /\ UNCHANGED rpc
       ELSE /\ rd' = [rd EXCEPT ![r].got = <<>>, ![r].h = IF got = <<>> THEN Mixture ELSE Whole(got, Len(got))]
            /\ rpc' = [rpc EXCEPT ![r] = "judge"]
    /\ UNCHANGED <<file, dir, writer>>

ReadLookAgain(r) ==
    /\ rpc[r] = "judge"
    /\ LET first == IF Broken = "looks-only-after" THEN sc ELSE rd[r].s
           good == rd[r].h \in sc.ds \/ (Broken # "looks-only-after" /\ rd[r].h \in first.ds)
           res == IF good THEN "good" ELSE IF first # sc THEN "again" ELSE IF sc.id = 0 THEN "missing" ELSE "mismatch" IN
       /\ rd' = [rd EXCEPT ![r] = [NoRead EXCEPT !.res = IF res = "mismatch" THEN res ELSE "none"]]
       /\ rpc' = [rpc EXCEPT ![r] = IF res = "again" THEN "again" ELSE "idle"]
    /\ UNCHANGED <<file, dir, writer>>

Writer == \/ Acquire \/ Harden \/ AnnounceRetire \/ AnnounceBarrier \/ AnnounceKeep \/ AnnounceKept
          \/ AnnounceUndo \/ PublishReserve \/ PublishReserveFails \/ PublishGiveBack \/ PublishGiven \/ PublishPutBack
          \/ PublishCopy \/ PublishTruncate \/ Settle \/ SettleFails
          \/ Seal \/ SealFlush \/ SealNot \/ Release

Next == Writer \/ Kill \/ Crash \/ \E r \in Readers : ReadLook(r) \/ ReadBlock(r) \/ ReadLookAgain(r)
Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
TypeOK ==
    /\ \A k \in Blocks : body[k] \in 0..Len(Lengths) /\ body[k] \in bodyD[k]
    /\ size \in sizeD /\ sizeD \subseteq Blocks
    /\ \A v \in Writes : copy[v] \in copyD[v] /\ copyD[v] \subseteq {"none", "temp", "copy"}
    /\ sc \in scD /\ nid \in Nat
    /\ \A s \in scD : s.ds \subseteq Writes /\ (s.id = 0 <=> s.ds = {})
    /\ ver \in 0..Len(Lengths) /\ at \in Blocks \cup {0}

\* Nobody changes a byte but the library: no reader ever says mismatch, not even beside a mixture that a crash left.
NoFalseAlarm == \A r \in Readers : rd[r].res # "mismatch"

\* What a crash at this instant leaves: one whole content, or a mixture beside a complete copy.
WholeOrCopy ==
    \A s \in sizeD : \A b \in [1..s -> 0..Len(Lengths)] : (\A k \in 1..s : b[k] \in bodyD[k]) =>
        \/ Whole(b, s) # Mixture
        \/ \E v \in Writes : copyD[v] = {"copy"}
\* The same of what is there without a crash.
WholeOrCopyNow == Whole(body, size) # Mixture \/ \E v \in Writes : copy[v] = "copy"

\* A record that a crash leaves is true: it names the content beside it.
RecordTrue ==
    \A d \in scD : d.id # 0 =>
        \A s \in sizeD : \A b \in [1..s -> 0..Len(Lengths)] : (\A k \in 1..s : b[k] \in bodyD[k]) => Whole(b, s) \in d.ds

\* For the configurations, which cannot hold a sequence: the first content has two blocks.
Longer == <<2, 3>>
Shorter == <<2, 1>>
LongerThenShorter == <<2, 3, 1>>
ThreeWrites == <<2, 3, 1, 2>>
=============================================================================
