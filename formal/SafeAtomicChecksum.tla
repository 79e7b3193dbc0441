------------------------- MODULE SafeAtomicChecksum -------------------------
(***************************************************************************)
(* The checksum pair: data and sidecar are two names that reach the disk    *)
(* independently, and still, at every instant and after every crash, the    *)
(* digest of the data is in the sidecar, or there honestly is no sidecar.   *)
(*                                                                          *)
(* A write announces {new, previous} in the sidecar (durable), publishes the *)
(* data, settles it, and seals the sidecar to {new}. Readers take no lock.   *)
(* The rules R1 to R5 and the move's numbered steps are in                   *)
(* notes-checksum.md; comments here give their numbers.                      *)
(*                                                                          *)
(* Assumptions                                                              *)
(*  - One writer per name at a time (SafeAtomicLock shows that); a move holds *)
(*    both locks. A kill releases the lock and leaves it recognisable        *)
(*    (stale); whoever takes it over flushes the directory before the dead   *)
(*    lock's name goes. Locks are not removed by force.                      *)
(*  - A crash leaves of each name, independently of every other name, any    *)
(*    value it had since its directory was last flushed. That a move may     *)
(*    then show the file in both directories, or in neither, is included.    *)
(*    Background writeback is the choice that the crash makes, so it needs   *)
(*    no action. Of a truncated, unflushed sidecar the old length, the new   *)
(*    one, or the old one ending in NULs is found.                           *)
(*  - A data inode's bytes were flushed before it got its name (Stage, Fill  *)
(*    and Harden are one action here; SafeAtomicSmoke takes them apart) and  *)
(*    change afterwards only through the outside agent below.                *)
(*  - Digests do not collide. Every write brings content of its own, except  *)
(*    where an outside agent rolls data back to former bytes.                *)
(*  - An outside agent rots the data, rolls them back, or damages a sidecar, *)
(*    in place, durably, each between two steps.                             *)
(* Not covered                                                              *)
(*  - writers without a lock; a directory flush that fails twice in a row    *)
(*    (once to settle, once to undo); in-place changes while a reader hashes;*)
(*    hashing itself, record syntax and algorithms; more than two names.     *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Names,      \* the targets, a subset of {"a", "b"}
    SameDir,    \* are all of them in one directory?
    Writers, Readers,
    Kinds,      \* which operations start: a subset of {"checked", "unchecked", "move", "bless"}
    MaxOps,     \* how many operations start in all
    MaxIno,     \* how many data inodes there ever are
    Tampers,    \* what the outside agent does: a subset of {"rot", "rollback", "sidecar"}
    MaxTampers, \* how often
    Crashes,    \* how many machine crashes
    Broken      \* "none", or the name of a deliberate defect

Free == "free"
Bad == 99                                    \* the digest of rotted bytes
NoRec == [new |-> 0, prev |-> {}, nul |-> FALSE]    \* no sidecar
Mal == [new |-> -1, prev |-> {}, nul |-> FALSE]     \* a sidecar that is no record
Rec(d, p) == [new |-> d, prev |-> p, nul |-> FALSE]
IsRec(r) == r.new > 0
Digests(r) == IF IsRec(r) THEN {r.new} \cup r.prev ELSE {}
Sealed(r) == IsRec(r) /\ r.prev = {}

VARIABLES
    data,       \* name -> inode in the page cache, 0 = no such file
    dDisk,      \* name -> the inodes a crash may leave there
    rec,        \* name -> sidecar record in the page cache
    recBytes,   \* name -> what a crash may leave of the bytes of the present sidecar inode
    sDisk,      \* name -> the records a crash may leave there
    cont,       \* inode -> digest of its bytes
    base,       \* inode -> digest that its bytes were written with (ghost)
    adopted,    \* inodes whose altered bytes were taken for good, there being no record or by request (ghost)
    nino,       \* the next data inode
    pc, op,     \* writer -> step, and what it is doing
    lock,       \* name -> who holds its lock, or Free
    stale,      \* name -> a dead writer's lock lies there
    left,       \* how many operations, tampers and crashes are left
    acc,        \* name -> the record has accused the data since the data took this name (ghost)
    ret,        \* name -> digest whose checked write has returned, 0 = none (ghost)
    dmg,        \* name -> an outside agent has damaged the sidecar (ghost)
    rpc, rd     \* reader -> step, and what it has seen

dataVars == <<data, dDisk>>
recVars == <<rec, recBytes, sDisk>>
inoVars == <<cont, base, adopted, nino>>
lockVars == <<lock, stale>>
readVars == <<rpc, rd>>
writerVars == <<dataVars, recVars, inoVars, pc, op, lockVars, left, acc, ret, dmg>>
vars == <<data, dDisk, rec, recBytes, sDisk, cont, base, adopted, nino, pc, op, lock, stale, left, acc, ret, dmg, rpc, rd>>

NoOp == [k |-> "none", n |-> "-", m |-> "-", i |-> 0, new |-> 0, keep |-> {}, old |-> NoRec, ann |-> FALSE]
NoRead == [n |-> "-", i |-> 0, c |-> 0, t |-> FALSE, s |-> NoRec, moved |-> FALSE, res |-> "none"]

Peers(n) == IF SameDir THEN Names ELSE {n}       \* the names in n's directory

Init ==
    /\ data \in {f \in [Names -> 0..2] :
                    /\ f["a"] = 1
                    /\ \A n \in Names \ {"a"} : f[n] \in {0, 2}}
    /\ rec \in {f \in [Names -> {NoRec, Rec(1, {}), Rec(2, {})}] :
                    \A n \in Names : f[n] \in {NoRec, Rec(IF n = "a" THEN 1 ELSE 2, {})}}
    /\ dDisk = [n \in Names |-> {data[n]}]
    /\ recBytes = [n \in Names |-> {rec[n]}]
    /\ sDisk = [n \in Names |-> {rec[n]}]
    /\ cont = [i \in 1..MaxIno |-> i]
    /\ base = [i \in 1..MaxIno |-> i]
    /\ adopted = {}
    /\ nino = IF Names = {"a"} THEN 2 ELSE 3
    /\ pc = [w \in Writers |-> "idle"]
    /\ op = [w \in Writers |-> NoOp]
    /\ lock = [n \in Names |-> Free]
    /\ stale = [n \in Names |-> FALSE]
    /\ left = [ops |-> MaxOps, tampers |-> MaxTampers, crashes |-> Crashes]
    /\ acc = [n \in Names |-> FALSE]
    /\ ret = [n \in Names |-> 0]
    /\ dmg = [n \in Names |-> FALSE]
    /\ rpc = [r \in Readers |-> "idle"]
    /\ rd = [r \in Readers |-> NoRead]

Accuses(d, r, c) == d # 0 /\ IsRec(r) /\ c[d] \notin Digests(r)
Accused(n) == Accuses(data[n], rec[n], cont)

(***************************************************************************)
(* Ghosts and readers' view, the same for every step.                       *)
(* acc[n] is remembered for as long as the same bytes stay under the name   *)
(* beside some record; a crash, a request (bless), a sidecar that is gone,  *)
(* and an announcement of these very bytes end it. A move takes it along    *)
(* (until Seal not, if the source was rolled back to the very bytes that    *)
(* the destination had: that looks like a move that has not happened).      *)
(***************************************************************************)
Remember(forget, from) ==
    acc' = [n \in Names |->
        LET now == Accuses(data'[n], rec'[n], cont')
            same == data'[n] = data[n] /\ data[n] # 0 /\ cont'[data[n]] = cont[data[n]]
            known == IF same THEN acc[n]
                     ELSE IF n \in DOMAIN from THEN acc[from[n]] /\ cont'[data'[n]] \notin rec[n].prev ELSE FALSE
        IN IsRec(rec'[n]) /\ data'[n] # 0 /\ (now \/ (known /\ n \notin forget))]

\* A sidecar inode is installed once and never comes back, so "changed since" is all a reader can find out.
ReadersSee(changed) ==
    rd' = [r \in Readers |-> IF rd[r].n \in changed /\ rpc[r] \in {"name", "recheck"}
                             THEN [rd[r] EXCEPT !.moved = TRUE] ELSE rd[r]]

Install(n, r, bytes) ==
    /\ rec' = [rec EXCEPT ![n] = r]
    /\ recBytes' = [recBytes EXCEPT ![n] = bytes]
    /\ sDisk' = [sDisk EXCEPT ![n] = @ \cup bytes]

Flush(ns) ==    \* fsync of the directories of ns; the bytes of a truncated sidecar stay unflushed
    LET all == UNION {Peers(n) : n \in ns}
    IN /\ dDisk' = [n \in Names |-> IF n \in all THEN {data[n]} ELSE dDisk[n]]
       /\ sDisk' = [n \in Names |-> IF n \in all THEN recBytes[n] ELSE sDisk[n]]
       /\ UNCHANGED <<data, rec, recBytes>>

Go(w, s) == pc' = [pc EXCEPT ![w] = s]
Quiet == UNCHANGED <<left, ret, dmg>>

(***************************************************************************)
(* The writer. op[w].n is the name written, op[w].m the source of a move.   *)
(***************************************************************************)
Pair(o) == IF o.k = "move" THEN {o.n, o.m} ELSE {o.n}

Writes(o) == o.k \in {"checked", "unchecked"}
\* Does this operation put a record at its target?
Announces(o) == o.k \in {"checked", "bless"} \/ (o.k = "move" /\ IsRec(rec[o.m]))

Unresolved(o) == Broken # "no-resolve" /\ Announces(o) /\ (o.k = "bless" \/ ~Sealed(rec[o.n]))     \* R1

AfterHarden(o) ==
    IF (Broken = "digest-after-data" /\ Writes(o)) \/ (Broken = "naive-move" /\ o.k = "move") THEN "publish"
    ELSE IF Announces(o) THEN "record"
    ELSE IF rec[o.n] = NoRec \/ Broken = "no-retire" THEN "publish"
    ELSE "retire"
AfterResolve(o) == IF Writes(o) THEN "harden" ELSE AfterHarden(o)

\* Gate and Acquire; a dead holder's lock goes only after a flush (R2).
Acquire(w, k, n, m) ==
    /\ pc[w] = "idle" /\ left.ops > 0 /\ k \in Kinds
    /\ LET o == [NoOp EXCEPT !.k = k, !.n = n, !.m = m]
           left_behind == {x \in Pair(o) : stale[x]} IN
       /\ k = "move" => m \in Names \ {n} /\ data[m] # 0 /\ rec[m] # Mal
       /\ k # "move" => m = "-"
       /\ k = "bless" => data[n] # 0
       /\ Writes(o) => nino <= MaxIno
       /\ \A x \in Pair(o) : lock[x] = Free
       /\ lock' = [x \in Names |-> IF x \in Pair(o) THEN w ELSE lock[x]]
       /\ stale' = [x \in Names |-> stale[x] /\ x \notin Pair(o)]
       /\ IF left_behind = {} \/ Broken = "no-takeover-sync" THEN UNCHANGED <<dataVars, recVars>>
          ELSE Flush(left_behind)
       /\ op' = [op EXCEPT ![w] = o]
       /\ ret' = [x \in Names |-> IF x \in Pair(o) THEN 0 ELSE ret[x]]
       /\ left' = [left EXCEPT !.ops = @ - 1]
       /\ Go(w, IF Unresolved(o) THEN "resolve" ELSE AfterResolve(o))
       /\ UNCHANGED <<inoVars, dmg, acc, readVars>>

AnnounceResolve(w) ==
    /\ pc[w] = "resolve"
    /\ Flush({op[w].n})
    /\ Go(w, AfterResolve(op[w]))
    /\ Quiet /\ UNCHANGED <<inoVars, op, lockVars, acc, readVars>>

\* Stage, Fill and Harden: a flushed inode with content d, not named yet. (A move and a bless flush the data that is there.)
Harden(w, d) ==
    /\ pc[w] = "harden" /\ nino <= MaxIno
    /\ op' = [op EXCEPT ![w].i = nino, ![w].new = d]
    /\ cont' = [cont EXCEPT ![nino] = d]
    /\ base' = [base EXCEPT ![nino] = d]
    /\ nino' = nino + 1
    /\ Go(w, AfterHarden(op[w]))
    /\ Quiet /\ UNCHANGED <<dataVars, recVars, adopted, lockVars, acc, readVars>>

Previous(n) ==                                                              \* R3
    LET r == rec[n]  d == data[n]
    IN IF Broken = "previous-by-hash" /\ d # 0 THEN {cont[d]}
       ELSE IF Sealed(r) THEN {r.new}
       ELSE IF IsRec(r) THEN (IF d # 0 /\ cont[d] \in Digests(r) THEN {cont[d]} ELSE Digests(r))
       ELSE IF d # 0 THEN {cont[d]} ELSE {}

\* What a move carries: the recorded digest, never a fresh hash; <<new, rest>>.
Carried(m) ==
    LET r == rec[m]  c == cont[data[m]]
    IN IF Broken = "move-by-hash" THEN <<c, {}>>
       ELSE IF ~Sealed(r) /\ c \in Digests(r) THEN <<c, {}>>
       ELSE <<r.new, r.prev>>

AnnounceRecord(w) ==
    /\ pc[w] = "record"
    /\ LET o == op[w]
           n == o.n
           new == CASE o.k = "checked" -> o.new [] o.k = "bless" -> cont[data[n]] [] o.k = "move" -> Carried(o.m)[1]
           keep == IF o.k = "move" THEN Carried(o.m)[2] ELSE {}
           prev == IF o.k = "bless" THEN {} ELSE Previous(n) \ {new}
           r == Rec(new, keep \cup prev)
           adopts == data[n] # 0 /\ (~IsRec(rec[n]) \/ o.k = "bless") IN
       /\ Install(n, r, IF Broken = "record-unflushed" THEN {r, Mal} ELSE {r})
       /\ adopted' = IF adopts /\ cont[data[n]] # base[data[n]] THEN adopted \cup {data[n]} ELSE adopted
       /\ op' = [op EXCEPT ![w].new = new, ![w].keep = keep, ![w].old = rec[n], ![w].ann = TRUE]
       /\ dmg' = [dmg EXCEPT ![n] = FALSE]
       /\ Go(w, IF Broken = "no-barrier" THEN "publish" ELSE "barrier")
       /\ ReadersSee({n})
       /\ UNCHANGED <<dataVars, cont, base, nino, lockVars, left, ret, rpc>>
       /\ Remember(IF o.k = "bless" \/ (data[n] # 0 /\ cont[data[n]] = new) THEN {n} ELSE {}, <<>>)

AnnounceRetire(w) ==
    /\ pc[w] = "retire"
    /\ Install(op[w].n, NoRec, {NoRec})
    /\ op' = [op EXCEPT ![w].old = rec[op[w].n]]
    /\ dmg' = [dmg EXCEPT ![op[w].n] = FALSE]
    /\ Go(w, IF Broken = "no-barrier" THEN "publish" ELSE "barrier")
    /\ ReadersSee({op[w].n})
    /\ UNCHANGED <<dataVars, inoVars, lockVars, left, ret, rpc>>
    /\ Remember({}, <<>>)

AnnounceBarrier(w) ==
    /\ pc[w] = "barrier"
    /\ Flush({op[w].n})
    /\ Go(w, IF op[w].k = "bless" THEN "release" ELSE "publish")
    /\ Quiet /\ UNCHANGED <<inoVars, op, lockVars, acc, readVars>>

\* R4: the barrier or the rename failed, or the lock was lost: put the former sidecar back. Not an unsealed
\* one over the record that resolved it: that would accept again what has just been ruled out.
AnnounceUndo(w) ==
    /\ pc[w] \in {"barrier", "publish"} /\ op[w].k # "bless"
    /\ LET o == op[w]
           stays == o.ann /\ IsRec(o.old) /\ ~Sealed(o.old) /\ Broken # "undo-unsealed" IN
       /\ o.old # NoRec \/ o.ann
       /\ IF stays THEN UNCHANGED recVars ELSE Install(o.n, o.old, {o.old})
       /\ dmg' = IF stays THEN dmg ELSE [dmg EXCEPT ![o.n] = (o.old = Mal)]
       /\ Go(w, "undone")
       /\ ReadersSee({o.n})
       /\ UNCHANGED <<dataVars, inoVars, op, lockVars, left, ret, rpc>>
       /\ Remember({}, <<>>)

\* Any other step before Publish failed: nothing was touched.
Abort(w) ==
    /\ \/ pc[w] \in {"resolve", "harden", "record", "retire"}
       \/ pc[w] = "publish" /\ op[w].old = NoRec /\ ~op[w].ann
    /\ Go(w, "failed")
    /\ Quiet /\ UNCHANGED <<dataVars, recVars, inoVars, op, lockVars, acc, readVars>>

UndoFlush(w) ==
    /\ pc[w] = "undone"
    /\ Flush({op[w].n})
    /\ Go(w, "failed")
    /\ Quiet /\ UNCHANGED <<inoVars, op, lockVars, acc, readVars>>

Publish(w) ==
    /\ pc[w] = "publish"
    /\ LET o == op[w]
           i == IF o.k = "move" THEN data[o.m] ELSE o.i
           moved == IF o.k = "move" THEN {o.m} ELSE {} IN
       /\ data' = [x \in Names |-> IF x = o.n THEN i ELSE IF x \in moved THEN 0 ELSE data[x]]
       /\ dDisk' = [x \in Names |-> IF x \in {o.n} \cup moved THEN dDisk[x] \cup {data'[x]} ELSE dDisk[x]]
       /\ Go(w, IF Broken = "seal-before-settle" /\ o.ann THEN "seal" ELSE "settle")
       /\ Quiet /\ UNCHANGED <<recVars, inoVars, op, lockVars, readVars>>
       /\ Remember({}, IF o.k = "move" /\ o.ann THEN [x \in {o.n} |-> o.m] ELSE <<>>)

AfterSeal(o) == IF o.k = "move" THEN "unlink-source"
                ELSE IF Broken = "seal-before-settle" THEN "settle" ELSE "release"

Unlocked(w) == [x \in Names |-> IF lock[x] = w THEN Free ELSE lock[x]]

Settle(w) ==
    /\ pc[w] = "settle"
    /\ LET o == op[w]
           late == \/ Broken = "digest-after-data" /\ o.k = "checked"
                   \/ Broken = "naive-move" /\ o.k = "move" /\ IsRec(rec[o.m]) IN
       /\ Flush(IF o.k = "move" /\ ~o.ann THEN Pair(o) ELSE {o.n})
       /\ lock' = IF Broken = "unlocked-seal" /\ o.ann THEN Unlocked(w) ELSE lock
       /\ Go(w, IF late THEN "seal"
                ELSE IF Broken = "seal-before-settle" \/ ~o.ann THEN "release"
                ELSE IF Broken = "no-seal" THEN (IF o.k = "move" THEN "unlink-source" ELSE "release")
                ELSE "seal")
       /\ Quiet /\ UNCHANGED <<inoVars, op, stale, acc, readVars>>

\* The flush failed: the caller is told, nothing is rolled back, nothing is sealed.
SettleFails(w) ==
    /\ pc[w] = "settle"
    /\ Go(w, "failed")
    /\ Quiet /\ UNCHANGED <<dataVars, recVars, inoVars, op, lockVars, acc, readVars>>

\* The name's record is cut by its previous lines; what a move carries along stays. (A broken writer that has
\* announced nothing writes its record only now.)
Seal(w) ==
    /\ pc[w] = "seal"
    /\ LET o == op[w]
           n == o.n
           cut == [rec[n] EXCEPT !.prev = o.keep, !.nul = FALSE]
           late == IF o.k = "move" THEN rec[o.m] ELSE Rec(o.new, {}) IN
       /\ IF Broken \in {"digest-after-data", "naive-move"} THEN Install(n, late, {late})
          ELSE IF rec[n].prev = o.keep THEN UNCHANGED recVars       \* nothing to cut
          ELSE Install(n, cut, recBytes[n] \cup {cut, [cut EXCEPT !.nul = TRUE]})
       /\ Go(w, IF Broken = "unlocked-seal" THEN "idle" ELSE AfterSeal(o))
       /\ op' = IF Broken = "unlocked-seal" THEN [op EXCEPT ![w] = NoOp] ELSE op
       /\ Quiet /\ UNCHANGED <<dataVars, inoVars, lockVars, readVars>>
       /\ Remember({}, <<>>)

\* A move's end: the source's sidecar goes when the destination is durable, and its directory is flushed.
UnlinkSource(w) ==
    /\ pc[w] = "unlink-source"
    /\ LET m == op[w].m IN
       /\ Install(m, NoRec, {NoRec})
       /\ dmg' = [dmg EXCEPT ![m] = FALSE]
       /\ Go(w, IF Broken = "source-unflushed" THEN "release" ELSE "settle-source")
       /\ ReadersSee({m})
       /\ UNCHANGED <<dataVars, inoVars, op, lockVars, left, ret, rpc>>
       /\ Remember({}, <<>>)

SettleSource(w) ==
    /\ pc[w] = "settle-source"
    /\ Flush({op[w].m})
    /\ Go(w, "release")
    /\ Quiet /\ UNCHANGED <<inoVars, op, lockVars, acc, readVars>>

Release(w) ==
    /\ pc[w] \in {"release", "failed"}
    /\ LET o == op[w] IN
       /\ lock' = Unlocked(w)
       /\ ret' = IF pc[w] = "release" /\ (o.ann \/ o.k = "bless") /\ o.keep = {} /\ Broken # "seal-before-settle"
                 THEN [ret EXCEPT ![o.n] = o.new] ELSE ret
       /\ op' = [op EXCEPT ![w] = NoOp]
       /\ Go(w, "idle")
       /\ UNCHANGED <<dataVars, recVars, inoVars, stale, left, acc, dmg, readVars>>

(***************************************************************************)
(* What else happens.                                                       *)
(***************************************************************************)
Kill(w) ==
    /\ pc[w] # "idle" /\ lock[op[w].n] = w
    /\ lock' = Unlocked(w)
    /\ stale' = [n \in Names |-> stale[n] \/ n \in Pair(op[w])]
    /\ op' = [op EXCEPT ![w] = NoOp]
    /\ Go(w, "idle")
    /\ Quiet /\ UNCHANGED <<dataVars, recVars, inoVars, acc, readVars>>

CrashTo(d, s) ==
    /\ data' = d /\ dDisk' = [n \in Names |-> {d[n]}]
    /\ rec' = s /\ recBytes' = [n \in Names |-> {s[n]}] /\ sDisk' = [n \in Names |-> {s[n]}]
    /\ pc' = [w \in Writers |-> "idle"] /\ op' = [w \in Writers |-> NoOp]
    /\ lock' = [n \in Names |-> Free] /\ stale' = [n \in Names |-> FALSE]
    /\ ret' = [n \in Names |-> 0]
    /\ dmg' = [n \in Names |-> s[n] = Mal /\ (dmg[n] \/ Broken # "record-unflushed")]
    /\ rpc' = [r \in Readers |-> "idle"] /\ rd' = [r \in Readers |-> NoRead]
    /\ UNCHANGED inoVars
    /\ Remember(Names, <<>>)

Crash ==
    /\ left.crashes > 0
    /\ left' = [left EXCEPT !.crashes = @ - 1]
    /\ \E d \in [Names -> UNION {dDisk[n] : n \in Names}], s \in [Names -> UNION {sDisk[n] : n \in Names}] :
        /\ \A n \in Names : d[n] \in dDisk[n] /\ s[n] \in sDisk[n]
        /\ CrashTo(d, s)

Tamper(kind) ==
    /\ kind \in Tampers /\ left.tampers > 0
    /\ left' = [left EXCEPT !.tampers = @ - 1]

Alter(n, d) ==
    /\ data[n] # 0 /\ cont[data[n]] # d
    /\ cont' = [cont EXCEPT ![data[n]] = d]
    /\ UNCHANGED <<dataVars, recVars, base, adopted, nino, pc, op, lockVars, ret, dmg, readVars>>
    /\ Remember({}, <<>>)

Rot == Tamper("rot") /\ \E n \in Names : Alter(n, Bad)
RollBack == Tamper("rollback") /\ \E n \in Names : data[n] # 0 /\ \E d \in 1..(data[n] - 1) : Alter(n, d)
SidecarRot ==
    /\ Tamper("sidecar")
    /\ \E n \in Names :
        /\ IsRec(rec[n])
        /\ rec' = [rec EXCEPT ![n] = Mal] /\ recBytes' = [recBytes EXCEPT ![n] = {Mal}]
        /\ sDisk' = [sDisk EXCEPT ![n] = @ \cup {Mal}]
        /\ dmg' = [dmg EXCEPT ![n] = TRUE]
        /\ ret' = [ret EXCEPT ![n] = 0]
        /\ op' = [w \in Writers |-> IF op[w].n = n THEN [op[w] EXCEPT !.keep = {}] ELSE op[w]]
    /\ \A w \in Writers : pc[w] # "seal"     \* Seal truncates; it does not look at the bytes
    /\ UNCHANGED <<dataVars, inoVars, pc, lockVars, readVars>>
    /\ Remember({}, <<>>)

(***************************************************************************)
(* The reader: open and hash, read the sidecar, check the name, check the   *)
(* sidecar again.                                                           *)
(***************************************************************************)
ReadOpen(r, n) ==
    /\ rpc[r] \in {"idle", "again"}
    /\ rpc[r] = "again" => n = rd[r].n
    /\ IF data[n] = 0
       THEN /\ rpc[r] = "again"         \* the file is gone: FileNotFoundError
            /\ rd' = [rd EXCEPT ![r] = NoRead]
            /\ rpc' = [rpc EXCEPT ![r] = "idle"]
       ELSE /\ rd' = [rd EXCEPT ![r] = [NoRead EXCEPT !.n = n, !.i = data[n], !.c = cont[data[n]],
                                                      !.t = cont[data[n]] # base[data[n]]]]
            /\ rpc' = [rpc EXCEPT ![r] = "sidecar"]
    /\ UNCHANGED writerVars

Wrong == {"false-alarm", "missed", "falsely-malformed"}
\* An honest verdict is good, mismatch, missing, malformed; only a wrong one is remembered.
Verdict(r, v) ==
    /\ rd' = [rd EXCEPT ![r] = [NoRead EXCEPT !.res = IF v \in Wrong THEN v ELSE "none"]]
    /\ rpc' = [rpc EXCEPT ![r] = "idle"]
Again(r) == /\ rd' = [rd EXCEPT ![r] = [NoRead EXCEPT !.n = rd[r].n]]
            /\ rpc' = [rpc EXCEPT ![r] = "again"]

Unreadable(s) == s = Mal \/ (Broken = "strict-tail" /\ s.nul)
Good(r) == IF rd[r].c = Bad /\ rd[r].i \notin adopted THEN "missed" ELSE "good"
Judge(r) == IF rd[r].s = NoRec THEN "missing"
            ELSE IF Unreadable(rd[r].s) THEN (IF dmg[rd[r].n] THEN "malformed" ELSE "falsely-malformed")
            ELSE IF rd[r].t \/ cont[rd[r].i] # rd[r].c THEN "mismatch"    \* tampered with, before or after it was read
            ELSE "false-alarm"

ReadSidecar(r) ==
    /\ rpc[r] = "sidecar"
    /\ LET s == rec[rd[r].n] IN
       IF ~Unreadable(s) /\ rd[r].c \in Digests(s) THEN Verdict(r, Good(r))
       ELSE /\ rd' = [rd EXCEPT ![r].s = s, ![r].moved = FALSE]
            /\ rpc' = [rpc EXCEPT ![r] = "name"]
    /\ UNCHANGED writerVars

ReadCheckName(r) ==
    /\ rpc[r] = "name"
    /\ IF data[rd[r].n] # rd[r].i /\ Broken # "no-double-check" THEN Again(r)
       ELSE rd' = rd /\ rpc' = [rpc EXCEPT ![r] = "recheck"]
    /\ UNCHANGED writerVars

ReadCheckSidecar(r) ==
    /\ rpc[r] = "recheck"
    /\ IF (rd[r].moved /\ Broken \notin {"no-double-check", "no-sidecar-recheck"}) \/ Broken = "always-again" THEN Again(r)
       ELSE Verdict(r, Judge(r))
    /\ UNCHANGED writerVars

Read(r) == (\E n \in Names : ReadOpen(r, n)) \/ ReadSidecar(r) \/ ReadCheckName(r) \/ ReadCheckSidecar(r)

Writer(w) ==
    \/ \E k \in Kinds, n \in Names, m \in Names \cup {"-"} : Acquire(w, k, n, m)
    \/ AnnounceResolve(w) \/ \E d \in {nino} : Harden(w, d)
    \/ AnnounceRecord(w) \/ AnnounceRetire(w) \/ AnnounceBarrier(w)
    \/ AnnounceUndo(w) \/ UndoFlush(w) \/ Abort(w)
    \/ Publish(w) \/ Settle(w) \/ SettleFails(w) \/ Seal(w) \/ UnlinkSource(w) \/ SettleSource(w) \/ Release(w)

Next ==
    \/ \E w \in Writers : Writer(w) \/ Kill(w)
    \/ Crash \/ Rot \/ RollBack \/ SidecarRot
    \/ \E r \in Readers : Read(r)

Spec == Init /\ [][Next]_vars

(* Fairness: a reader that has opened a file goes on. Writers may stop anywhere; they are not needed. *)
Going(r) == rpc[r] # "idle" /\ Read(r)
LiveSpec == Spec /\ \A r \in Readers : WF_vars(Going(r))

-----------------------------------------------------------------------------
Digest == 1..MaxIno \cup {Bad}
Record == [new : Digest, prev : SUBSET Digest, nul : BOOLEAN] \cup {NoRec, Mal}

TypeOK ==
    /\ data \in [Names -> 0..MaxIno]
    /\ \A n \in Names :
        /\ data[n] \in dDisk[n] /\ dDisk[n] \subseteq 0..MaxIno
        /\ rec[n] \in recBytes[n] /\ recBytes[n] \subseteq sDisk[n]
        /\ \A s \in sDisk[n] : s \in {NoRec, Mal} \/ (s.new \in Digest /\ s.prev \subseteq Digest /\ s.nul \in BOOLEAN)
    /\ cont \in [1..MaxIno -> Digest] /\ base \in [1..MaxIno -> Digest]
    /\ nino \in 1..(MaxIno + 1) /\ adopted \subseteq 1..MaxIno
    /\ lock \in [Names -> Writers \cup {Free}]
    /\ \A w \in Writers : pc[w] # "idle" => \/ \A n \in Pair(op[w]) : lock[n] = w
                                             \/ Broken = "unlocked-seal"
    /\ acc \in [Names -> BOOLEAN] /\ stale \in [Names -> BOOLEAN] /\ dmg \in [Names -> BOOLEAN]
    /\ ret \in [Names -> Digest \cup {0}]
    /\ \A r \in Readers : rpc[r] \in {"idle", "sidecar", "name", "recheck", "again"}

\* A reader says mismatch only of bytes that are not what was written.
NoFalseAlarm == \A r \in Readers : rd[r].res # "false-alarm"
\* A reader says good of rotted bytes never (unless they were rotten before any record spoke of them).
NoMissedCorruption == \A r \in Readers : rd[r].res # "missed"
\* Nothing but damage from outside makes a sidecar unreadable, not even a crash inside Seal.
NoFalseMalformed == \A r \in Readers : rd[r].res # "falsely-malformed"
\* A checked write that has returned is sealed: no other content is accepted, the previous one included.
RollbackDetected == \A n \in Names : ret[n] # 0 /\ ~dmg[n] => Digests(rec[n]) = {ret[n]}
\* Whatever a crash at this instant leaves verifies, or has no sidecar, or was tampered with.
\* (With d = data and s = rec this also speaks of every instant without a crash.)
PairRecoverable ==
    \A n \in Names : \A d \in dDisk[n], s \in sDisk[n] :
        \/ d = 0 \/ s = NoRec \/ cont[d] # base[d]
        \/ s = Mal /\ "sidecar" \in Tampers
        \/ cont[d] \in Digests(s)
\* Bytes once accused stay accused, whatever is announced over them.
NotBlessed == \A n \in Names : acc[n] => Accused(n)
\* Without unchecked writes and moves, a name that has a sidecar never shows without one.
\* (checked in the configurations where it holds)
AlwaysRecorded == \A n \in Names : data[n] # 0 => \A s \in sDisk[n] : IsRec(s)

Symmetry == Permutations(Writers) \cup Permutations(Readers)

ReadersTerminate == \A r \in Readers : (rpc[r] # "idle") ~> (rpc[r] = "idle")
=============================================================================
