------------------------- MODULE SafeAtomicChecksum -------------------------
(***************************************************************************)
(* The checksum pair: data and sidecar are two names that reach the disk    *)
(* independently, and still, at every instant and after every crash, the    *)
(* digest of the data is in the sidecar, or there honestly is no sidecar.   *)
(*                                                                          *)
(* A write recognises what stands at the sidecar's name, announces           *)
(* {new, previous} there by an exchange (durable), publishes the data,       *)
(* settles it, and seals the record to {new}. What the exchange displaced    *)
(* keeps its inode under a temp's name until Publish, so that a roll-back is *)
(* the exchange once more. Readers take no lock. The rules R1 to R8 and the  *)
(* move's numbered steps are in notes-checksum.md; comments give numbers.    *)
(*                                                                          *)
(* Assumptions                                                              *)
(*  - One locking writer per name at a time (SafeAtomicLock shows that); a   *)
(*    move holds both locks. A kill releases the lock and leaves it          *)
(*    recognisable (stale), as does a write that could not settle or undo;   *)
(*    whoever takes a lock over, or removes it by force, flushes the         *)
(*    directory before its name goes. Looking at the lock and acting on it   *)
(*    (Announce, Publish, the retaking of a lost lock) are one action here.  *)
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
(*  - An outside agent rots the data, rolls them back, or damages a sidecar; *)
(*    a stranger puts a file of its own at the sidecar's name (by rename or  *)
(*    in place), removes what is there, or creates the data. Each does so    *)
(*    durably, between two steps.                                            *)
(*  - A displaced file stands under a name that only its writer knows, so    *)
(*    comparing it right after the exchange is part of the same action.      *)
(* Not covered                                                              *)
(*  - A writer without a lock, beside others: the runs checksum-create and   *)
(*    checksum-none say what holds then and what does not.                   *)
(*  - What strangers did to a sidecar and did not flush, over a crash; a     *)
(*    stranger that keeps a sidecar open and writes to it later.             *)
(*  - Between Seal's look at the record and its truncation lies an instant.  *)
(*  - A filesystem without exchange. In-place changes while a reader hashes. *)
(*  - Hashing, record syntax, algorithms, who may read a record, a foreign   *)
(*    list that has a line for the file; more than two names.                *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Names,      \* the targets, a subset of {"a", "b"}
    SameDir,    \* are all of them in one directory?
    Writers, Readers,
    Unlocked,   \* the writers that pass concurrency="none"
    Kinds,      \* which operations start: a subset of {"checked", "unchecked", "create", "make", "move", "accept"}
                \* (create and make are a checked and an unchecked write with overwrite=False)
    MaxOps,     \* how many operations start in all
    MaxIno,     \* how many data inodes there ever are
    MaxSc,      \* how many sidecar inodes there are at a time; EnoughSidecars shows that they suffice
    Tampers,    \* what the outside agent does: a subset of {"rot", "rollback", "sidecar"}
    MaxTampers, \* how often
    Strangers,  \* what strangers do: a subset of {"swap", "write", "remove", "create", "record", "unlock"}
    MaxStrangers, \* how often
    Kills,      \* whether writers are killed
    Forces,     \* how many locks are removed by force
    Crashes,    \* how many machine crashes
    Present,    \* whether there is data at the beginning: a subset of BOOLEAN
    Recorded,   \* whether there is a sidecar at the beginning: a subset of BOOLEAN
    Broken      \* "none", or the name of a deliberate defect

Free == "free"
Bad == 99                                    \* the digest of rotted bytes
Rec(d, p) == [new |-> d, prev |-> p, nul |-> FALSE]
NoRec == Rec(0, {})         \* no sidecar
Mal == Rec(-1, {})          \* no record, and it is our fault
Dam == Rec(-2, {})          \* no record: damaged from outside
For == Rec(-3, {})          \* a foreign file
IsRec(r) == r.new > 0
Digests(r) == IF IsRec(r) THEN {r.new} \cup r.prev ELSE {}
Sealed(r) == IsRec(r) /\ r.prev = {}

VARIABLES
    data,       \* name -> inode in the page cache, 0 = no such file
    dDisk,      \* name -> the inodes a crash may leave there
    sc,         \* name -> sidecar inode in the page cache, 0 = no sidecar
    sDisk,      \* name -> the sidecar inodes a crash may leave there
    srec,       \* sidecar inode -> what it contains
    sbytes,     \* sidecar inode -> what a crash may leave of it
    temps,      \* sidecar inodes that stand under a temp's name, displaced
    theirs,     \* sidecar inodes that strangers made, and nobody has recognised as ours (ghost)
    cont,       \* data inode -> digest of its bytes
    base,       \* data inode -> digest that its bytes were written with (ghost)
    adopted,    \* inodes whose altered bytes were taken for good, there being no record or by request (ghost)
    nino,       \* the next data inode
    pc, op,     \* writer -> step, and what it is doing
    lock,       \* name -> who holds its lock, or Free
    stale,      \* name -> a dead writer's lock lies there
    left,       \* how many operations, tampers, strangers' acts, forces and crashes are left
    acc,        \* name -> the record has accused the data since the data took this name (ghost)
    ret,        \* name -> digest whose checked write has returned, 0 = none (ghost)
    won,        \* how many have created the file, strangers included (ghost)
    rpc, rd     \* reader -> step, and what it has seen

dataVars == <<data, dDisk>>
nameVars == <<sc, sDisk>>
bodyVars == <<srec, sbytes>>
scVars == <<sc, sDisk, srec, sbytes, temps, theirs>>
inoVars == <<cont, base, adopted, nino>>
lockVars == <<lock, stale>>
readVars == <<rpc, rd>>
vars == <<data, dDisk, sc, sDisk, srec, sbytes, temps, theirs, cont, base, adopted, nino, pc, op, lock, stale,
          left, acc, ret, won, rpc, rd>>

\* si, sr: the sidecar that was recognised and what it held; mi, mr: the same of a move's source; found: the data beside
\* it; mine: the inode of our record; r: the bytes written there; disp: what it displaced; why: why that goes back; named:
\* it has changed what stands at the sidecar's name.
NoOp == [k |-> "none", n |-> "-", m |-> "-", i |-> 0, new |-> 0, keep |-> {}, found |-> 0, si |-> 0, sr |-> NoRec,
         mi |-> 0, mr |-> NoRec, mine |-> 0, r |-> NoRec, disp |-> 0, why |-> "-", named |-> FALSE]
NoRead == [n |-> "-", i |-> 0, c |-> 0, t |-> FALSE, s |-> 0, r |-> NoRec, calm |-> FALSE, res |-> "none"]

Peers(n) == IF SameDir THEN Names ELSE {n}       \* the names in n's directory

(***************************************************************************)
(* Sidecar inodes. Numbers mean nothing but "the same" and "another"; one   *)
(* that nobody refers to is free again. A reader keeps open what it saw.    *)
(***************************************************************************)
Sidecars == 1..MaxSc
InUse == UNION {sDisk[n] \cup {sc[n]} : n \in Names} \cup temps \cup theirs
         \cup UNION {{op[w].si, op[w].mi, op[w].mine, op[w].disp} : w \in Writers} \cup {rd[r].s : r \in Readers}
Fresh == CHOOSE i \in Sidecars \ InUse : \A j \in Sidecars \ InUse : i <= j
\* Last in every action that changes who refers to a sidecar inode.
Bodies(c, b) ==
    /\ srec' = [i \in Sidecars |-> IF i \in InUse' THEN c[i] ELSE NoRec]
    /\ sbytes' = [i \in Sidecars |-> IF i \in InUse' THEN b[i] ELSE {}]
Holds(i) == IF i = 0 THEN NoRec ELSE srec[i]
At(n) == Holds(sc[n])                            \* what stands at n's sidecar's name
Put(f, i, x) == [f EXCEPT ![i] = x]

Init ==
    /\ data \in {f \in [Names -> 0..2] :
                    /\ f["a"] \in {IF there THEN 1 ELSE 0 : there \in Present}
                    /\ \A n \in Names \ {"a"} : f[n] \in {0, 2}}
    /\ sc \in {f \in [Names -> 0..2] : \A n \in Names : f[n] \in {IF ~there THEN 0 ELSE IF n = "a" THEN 1 ELSE 2 : there \in Recorded}}
    /\ dDisk = [n \in Names |-> {data[n]}]
    /\ sDisk = [n \in Names |-> {sc[n]}]
    /\ srec = [i \in Sidecars |-> IF \E n \in Names : sc[n] = i THEN Rec(i, {}) ELSE NoRec]
    /\ sbytes = [i \in Sidecars |-> IF \E n \in Names : sc[n] = i THEN {Rec(i, {})} ELSE {}]
    /\ temps = {} /\ theirs = {}
    /\ cont = [i \in 1..MaxIno |-> i]
    /\ base = [i \in 1..MaxIno |-> i]
    /\ adopted = {}
    /\ nino = IF Names = {"a"} THEN 2 ELSE 3
    /\ pc = [w \in Writers |-> "idle"]
    /\ op = [w \in Writers |-> NoOp]
    /\ lock = [n \in Names |-> Free]
    /\ stale = [n \in Names |-> FALSE]
    /\ left = [ops |-> MaxOps, tampers |-> MaxTampers, strangers |-> MaxStrangers, forces |-> Forces, crashes |-> Crashes]
    /\ acc = [n \in Names |-> FALSE]
    /\ ret = [n \in Names |-> 0]
    /\ won = 0
    /\ rpc = [r \in Readers |-> "idle"]
    /\ rd = [r \in Readers |-> NoRead]

Accuses(d, r, c) == d # 0 /\ IsRec(r) /\ c[d] \notin Digests(r)
Accused(n) == Accuses(data[n], At(n), cont)

(***************************************************************************)
(* acc[n] is remembered for as long as the same bytes stay under the name   *)
(* beside some record; a crash, a request (accept), a sidecar that is gone   *)
(* or foreign, and an announcement of these very bytes end it. A move takes *)
(* it along (until Seal not, if the source was rolled back to the very bytes *)
(* that the destination had: that looks like a move that has not happened). *)
(***************************************************************************)
Remember(forget, from) ==
    acc' = [n \in Names |->
        LET now == Accuses(data'[n], At(n)', cont')
            same == data'[n] = data[n] /\ data[n] # 0 /\ cont'[data[n]] = cont[data[n]]
            known == IF same THEN acc[n]
                     ELSE IF n \in DOMAIN from THEN acc[from[n]] /\ cont'[data'[n]] \notin At(n).prev ELSE FALSE
        IN IsRec(At(n)') /\ data'[n] # 0 /\ (now \/ (known /\ n \notin forget))]

\* The sidecar's name is changed to inode i.
Name(n, i) == sc' = [sc EXCEPT ![n] = i] /\ sDisk' = [sDisk EXCEPT ![n] = @ \cup {i}]

Flush(ns) ==    \* fsync of the directories of ns; the bytes of a truncated sidecar stay unflushed
    LET all == UNION {Peers(n) : n \in ns}
    IN /\ dDisk' = [n \in Names |-> IF n \in all THEN {data[n]} ELSE dDisk[n]]
       /\ sDisk' = [n \in Names |-> IF n \in all THEN {sc[n]} ELSE sDisk[n]]
       /\ UNCHANGED <<data, sc>>

Go(w, s) == pc' = [pc EXCEPT ![w] = s]
Quiet == UNCHANGED <<left, ret, won>>

(***************************************************************************)
(* The writer. op[w].n is the name written, op[w].m the source of a move.   *)
(***************************************************************************)
Pair(o) == IF o.k = "move" THEN {o.n, o.m} ELSE {o.n}

Creates(o) == o.k \in {"create", "make"}
Writes(o) == o.k \in {"checked", "unchecked"} \/ Creates(o)
\* Does this operation put a record at its target?
Announces(o) == o.k \in {"checked", "create", "accept"} \/ (o.k = "move" /\ IsRec(o.mr))

\* Before Announce and before Publish: is the lock still ours?
Fenced(w) == w \in Unlocked \/ Broken = "unfenced" \/ \A x \in Pair(op[w]) : lock[x] = w

Unresolved(o) == Broken # "no-resolve" /\ Announces(o) /\ (o.k = "accept" \/ ~Sealed(o.sr))     \* R1

AfterHarden(o) ==
    IF (Broken = "digest-after-data" /\ Writes(o)) \/ (Broken = "naive-move" /\ o.k = "move") THEN "publish"
    ELSE IF Announces(o) THEN "record"
    ELSE IF ~IsRec(o.sr) \/ Broken = "no-retire" THEN "publish"
    ELSE "retire"
AfterResolve(o) == IF Writes(o) /\ o.i = 0 THEN "harden" ELSE AfterHarden(o)

\* Gate and Acquire; a dead holder's lock goes only after a flush (R2).
Acquire(w, k, n, m) ==
    /\ pc[w] = "idle" /\ left.ops > 0 /\ k \in Kinds
    /\ LET o == [NoOp EXCEPT !.k = k, !.n = n, !.m = m]
           left_behind == {x \in Pair(o) : stale[x]}
           held == IF w \in Unlocked THEN {} ELSE Pair(o) IN
       /\ k = "move" => m \in Names \ {n} /\ data[m] # 0
       /\ k # "move" => m = "-"
       /\ k = "accept" => data[n] # 0
       /\ Creates(o) => data[n] = 0
       /\ Writes(o) => nino <= MaxIno
       /\ \A x \in held : lock[x] = Free
       /\ lock' = [x \in Names |-> IF x \in held THEN w ELSE lock[x]]
       /\ stale' = [x \in Names |-> stale[x] /\ x \notin held]
       /\ IF left_behind \cap held = {} \/ Broken = "no-takeover-sync" THEN UNCHANGED <<dataVars, nameVars>>
          ELSE Flush(left_behind)
       /\ op' = [op EXCEPT ![w] = o]
       /\ ret' = [x \in Names |-> IF x \in Pair(o) THEN 0 ELSE ret[x]]
       /\ left' = [left EXCEPT !.ops = @ - 1]
       /\ Go(w, "look")
       /\ UNCHANGED <<temps, theirs, inoVars, acc, won, readVars>>
    /\ Bodies(srec, sbytes)

\* A record beside no data whose inode is flocked is a living creator's.
Creator(i) == \E v \in Writers : pc[v] # "idle" /\ op[v].mine = i

\* R7: a put-back is flushed before the lock goes, as an undo is.
Fails(o) == IF o.named /\ Broken # "put-back-unflushed" THEN "undone" ELSE "failed"

\* R6: recognise what is there, on an open descriptor. (A list of several files, notes, a link ... is refused by what
\* would have to replace it, and left alone by everything else.)
AnnounceLook(w) ==
    /\ pc[w] = "look"
    /\ LET n == op[w].n
           o == [op[w] EXCEPT !.si = sc[n], !.sr = At(n), !.found = data[n],
                              !.mi = IF op[w].k = "move" THEN sc[op[w].m] ELSE 0,
                              !.mr = IF op[w].k = "move" THEN At(op[w].m) ELSE NoRec,
                              !.mine = 0, !.r = NoRec, !.disp = 0, !.why = "-"]
           refused == \/ Announces(o) /\ o.sr = For
                      \/ Creates(o) /\ (data[n] # 0 \/ (sc[n] # 0 /\ Creator(sc[n]))) IN
       /\ op' = [op EXCEPT ![w] = o]
       /\ theirs' = theirs \ {i \in {o.si, o.mi} : IsRec(Holds(i))}
       /\ Go(w, IF refused THEN Fails(o) ELSE IF Unresolved(o) THEN "resolve" ELSE AfterResolve(o))
    /\ Quiet /\ UNCHANGED <<dataVars, nameVars, temps, inoVars, lockVars, acc, readVars>>
    /\ Bodies(srec, sbytes)

AnnounceResolve(w) ==
    /\ pc[w] = "resolve"
    /\ Flush({op[w].n})
    /\ Go(w, AfterResolve(op[w]))
    /\ Quiet /\ UNCHANGED <<temps, theirs, inoVars, op, lockVars, acc, readVars>>
    /\ Bodies(srec, sbytes)

\* Stage, Fill and Harden: a flushed inode with content d, not named yet. (A move and an accept flush the data that is there.)
Harden(w, d) ==
    /\ pc[w] = "harden" /\ nino <= MaxIno
    /\ op' = [op EXCEPT ![w].i = nino, ![w].new = d]
    /\ cont' = [cont EXCEPT ![nino] = d]
    /\ base' = [base EXCEPT ![nino] = d]
    /\ nino' = nino + 1
    /\ Go(w, AfterHarden(op[w]))
    /\ Quiet /\ UNCHANGED <<dataVars, scVars, adopted, lockVars, acc, readVars>>

Previous(o) ==                                                              \* R3
    LET r == o.sr  d == data[o.n]
    IN IF Broken = "previous-by-hash" /\ d # 0 THEN {cont[d]}
       ELSE IF Sealed(r) THEN {r.new}
       ELSE IF IsRec(r) THEN (IF d # 0 /\ cont[d] \in Digests(r) THEN {cont[d]} ELSE Digests(r))
       ELSE IF d # 0 THEN {cont[d]} ELSE {}

\* What a move carries: the recorded digest, never a fresh hash; <<new, rest>>.
Carried(o) ==
    LET r == o.mr  c == cont[data[o.m]]
    IN IF Broken = "move-by-hash" THEN <<c, {}>>
       ELSE IF ~Sealed(r) /\ c \in Digests(r) THEN <<c, {}>>
       ELSE <<r.new, r.prev>>

\* R6: exchange with what is there, create where nothing was; then compare what was displaced with what was recognised.
AnnounceRecord(w) ==
    /\ pc[w] = "record" /\ Fenced(w)
    /\ LET o == op[w]
           n == o.n
           new == CASE o.k \in {"checked", "create"} -> o.new [] o.k = "accept" -> cont[data[n]] [] o.k = "move" -> Carried(o)[1]
           keep == IF o.k = "move" THEN Carried(o)[2] ELSE {}
           prev == IF o.k = "accept" THEN {} ELSE Previous(o) \ {new}
           r == Rec(new, keep \cup prev)
           blind == Broken = "no-exchange"          \* a plain rename
           there == IF blind THEN 0 ELSE sc[n]
           missed == ~blind /\ (o.si = 0) # (sc[n] = 0)     \* EEXIST or ENOENT: look again
           same == blind \/ Broken = "no-compare" \/ (there = o.si /\ At(n) = o.sr)
           adopts == data[n] # 0 /\ (~IsRec(o.sr) \/ o.k = "accept") IN
       IF missed
       THEN /\ Go(w, "look")
            /\ UNCHANGED <<dataVars, scVars, inoVars, op, lockVars, left, acc, ret, won, readVars>>
       ELSE /\ Name(n, Fresh)
            /\ op' = [op EXCEPT ![w].new = new, ![w].keep = keep, ![w].mine = Fresh, ![w].r = r, ![w].named = TRUE,
                                ![w].disp = IF Broken = "unlink-early" THEN 0 ELSE there,
                                ![w].why = IF same THEN "-" ELSE "differs"]
            /\ temps' = temps \cup ({there} \ (IF same /\ Broken = "unlink-early" THEN {0, there} ELSE {0}))
            /\ adopted' = IF adopts /\ cont[data[n]] # base[data[n]] THEN adopted \cup {data[n]} ELSE adopted
            /\ Go(w, IF ~same THEN "back" ELSE IF Broken = "no-barrier" THEN "publish" ELSE "barrier")
            /\ UNCHANGED <<dataVars, theirs, cont, base, nino, lockVars, left, ret, won, readVars>>
            /\ Bodies(Put(srec, Fresh, r), Put(sbytes, Fresh, IF Broken = "record-unflushed" THEN {r, Mal} ELSE {r}))
            /\ Remember(IF o.k = "accept" \/ (data[n] # 0 /\ cont[data[n]] = new) THEN {n} ELSE {}, <<>>)

\* R6: renamed to a temp's name, then compared.
AnnounceRetire(w) ==
    /\ pc[w] = "retire" /\ Fenced(w)
    /\ LET o == op[w]
           n == o.n
           blind == Broken = "no-exchange"          \* a plain unlink
           same == blind \/ Broken = "no-compare" \/ (sc[n] = o.si /\ At(n) = o.sr) IN
       IF sc[n] = 0
       THEN /\ Go(w, "look")
            /\ UNCHANGED <<dataVars, scVars, inoVars, op, lockVars, left, acc, ret, won, readVars>>
       ELSE /\ Name(n, 0)
            /\ op' = [op EXCEPT ![w].disp = IF blind THEN 0 ELSE sc[n], ![w].named = TRUE, ![w].why = IF same THEN "-" ELSE "differs"]
            /\ temps' = IF blind THEN temps ELSE temps \cup {sc[n]}
            /\ Go(w, IF ~same THEN "back" ELSE IF Broken = "no-barrier" THEN "publish" ELSE "barrier")
            /\ UNCHANGED <<dataVars, theirs, inoVars, lockVars, left, ret, won, readVars>>
            /\ Bodies(srec, sbytes)
            /\ Remember({}, <<>>)

AnnounceBarrier(w) ==
    /\ pc[w] = "barrier"
    /\ Flush({op[w].n})
    /\ Go(w, IF op[w].k = "accept" THEN "release" ELSE "publish")
    /\ temps' = IF op[w].k = "accept" THEN temps \ {op[w].disp} ELSE temps
    /\ op' = IF op[w].k = "accept" THEN [op EXCEPT ![w].disp = 0] ELSE op
    /\ Quiet /\ UNCHANGED <<theirs, inoVars, lockVars, acc, readVars>>
    /\ Bodies(srec, sbytes)

(***************************************************************************)
(* R4, R7: a sidecar goes back, because what was displaced is not what was  *)
(* recognised, or because the barrier or the rename failed or the lock was  *)
(* lost. It is the exchange once more, and it never overwrites.             *)
(***************************************************************************)
AnnounceUndo(w) ==
    /\ pc[w] \in {"barrier", "publish"}
    /\ op[w].mine # 0 \/ op[w].disp # 0
    /\ op' = [op EXCEPT ![w].why = "undo"]
    /\ Go(w, "back")
    /\ Quiet /\ UNCHANGED <<dataVars, scVars, inoVars, lockVars, acc, readVars>>

AfterBack(o) == IF o.why = "differs" THEN "look" ELSE "undone"
\* The end: nothing of ours stays under the temp's name; a stranger's file does.
Ended(w, o) ==
    /\ temps' = temps \ {i \in {o.disp} : i \notin theirs}
    /\ op' = [op EXCEPT ![w] = [o EXCEPT !.disp = 0]]
    /\ Go(w, AfterBack(o))
Leave(w) == Ended(w, op[w]) /\ UNCHANGED <<sc, sDisk>>

\* The look before it: under the lock, our record untouched at the name, the data that was found.
AnnounceBack(w) ==
    /\ pc[w] = "back"
    /\ LET o == op[w]
           n == o.n
           mayLock == w \in Unlocked \/ Broken = "undo-unlocked" \/ lock[n] \in {w, Free}
           ours == o.mine # 0 /\ sc[n] = o.mine /\ At(n) = o.r
           sameData == data[n] = o.found \/ Broken = "undo-unguarded"
           stays == /\ o.why = "undo" /\ o.mine # 0 /\ IsRec(o.sr) /\ ~Sealed(o.sr)
                    /\ Broken # "undo-unsealed" /\ ~(Creates(o) /\ data[n] # 0)
           goesBack == o.why = "differs" \/ sameData
           retakes == lock[n] = Free /\ w \notin Unlocked /\ mayLock /\ Broken # "undo-unlocked" IN
       /\ lock' = IF retakes THEN [lock EXCEPT ![n] = w] ELSE lock
       /\ stale' = IF retakes THEN [stale EXCEPT ![n] = FALSE] ELSE stale
       /\ IF retakes /\ stale[n]
          THEN Flush({n}) /\ UNCHANGED <<temps, op, pc>>         \* R2; then once more
          ELSE /\ UNCHANGED dataVars
               /\ IF ~mayLock \/ stays THEN Leave(w)
                  ELSE IF o.mine = 0                               \* a retired sidecar: NOREPLACE
                  THEN IF goesBack /\ (sc[n] = 0 \/ Broken = "undo-overwrites")
                       THEN /\ Name(n, o.disp) /\ temps' = temps \ {o.disp}
                            /\ op' = [op EXCEPT ![w].disp = 0] /\ Go(w, AfterBack(o))
                       ELSE Leave(w)
                  ELSE IF sc[n] = 0 /\ o.disp # 0 /\ goesBack       \* somebody removed our record: NOREPLACE
                  THEN /\ Name(n, o.disp) /\ temps' = temps \ {o.disp}
                       /\ op' = [op EXCEPT ![w].disp = 0] /\ Go(w, AfterBack(o))
                  ELSE IF (ours \/ Broken = "undo-by-name") /\ (goesBack \/ Creates(o))
                  THEN /\ Go(w, "swap") /\ UNCHANGED <<sc, sDisk, temps>>
                       /\ op' = IF goesBack THEN op ELSE [op EXCEPT ![w].disp = 0]
                  ELSE Leave(w)
    /\ Quiet /\ UNCHANGED <<theirs, inoVars, readVars>>
    /\ Bodies(srec, sbytes)
    /\ Remember({}, <<>>)

\* The exchange once more, or, where no sidecar was, our record renamed away. What comes out is compared again.
AnnounceSwap(w) ==
    /\ pc[w] = "swap"
    /\ LET o == op[w]
           n == o.n
           out == sc[n]
           ours == out = o.mine /\ At(n) = o.r
           unlinked == ours \/ Broken = "undo-by-name" IN
       IF out = 0 \/ ~(Fenced(w) \/ Broken = "undo-unlocked")
       THEN /\ Go(w, IF out = 0 /\ o.disp = 0 THEN AfterBack(o) ELSE "back")
            /\ UNCHANGED <<nameVars, temps, op>>
       ELSE /\ Name(n, o.disp)
            /\ temps' = (temps \ {o.disp}) \cup (IF unlinked THEN {} ELSE {out})
            /\ op' = [op EXCEPT ![w].disp = IF unlinked \/ o.disp # 0 THEN 0 ELSE out,
                                ![w].mine = IF unlinked \/ o.disp # 0 THEN o.mine ELSE 0]
            /\ Go(w, IF unlinked \/ o.disp # 0 THEN AfterBack(o) ELSE "again")
    /\ Quiet /\ UNCHANGED <<dataVars, theirs, inoVars, lockVars, readVars>>
    /\ Bodies(srec, sbytes)
    /\ Remember({}, <<>>)

\* What was renamed away was not our record: NOREPLACE.
AnnounceAgain(w) ==
    /\ pc[w] = "again"
    /\ IF sc[op[w].n] = 0
       THEN /\ Name(op[w].n, op[w].disp) /\ temps' = temps \ {op[w].disp}
            /\ op' = [op EXCEPT ![w].disp = 0] /\ Go(w, AfterBack(op[w]))
       ELSE Leave(w)
    /\ Quiet /\ UNCHANGED <<dataVars, theirs, inoVars, lockVars, readVars>>
    /\ Bodies(srec, sbytes)
    /\ Remember({}, <<>>)

\* Any other step before Publish failed: nothing was touched, or it is back already.
Abort(w) ==
    /\ \/ pc[w] \in {"look", "resolve", "harden", "record", "retire"}
       \/ pc[w] = "publish" /\ op[w].disp = 0 /\ op[w].mine = 0
    /\ Go(w, Fails(op[w]))
    /\ Quiet /\ UNCHANGED <<dataVars, scVars, inoVars, op, lockVars, acc, readVars>>

UndoFlush(w) ==
    /\ pc[w] = "undone"
    /\ Flush({op[w].n})
    /\ Go(w, "failed")
    /\ Quiet /\ UNCHANGED <<temps, theirs, inoVars, op, lockVars, acc, readVars>>
    /\ Bodies(srec, sbytes)

\* The roll-back is not durable: the lock is left behind.
UndoFlushFails(w) ==
    /\ pc[w] = "undone"
    /\ Go(w, "unsettled")
    /\ Quiet /\ UNCHANGED <<dataVars, scVars, inoVars, op, lockVars, acc, readVars>>

\* The data are renamed; what was displaced goes from the temp's name before the next flush.
Publish(w) ==
    /\ pc[w] = "publish" /\ Fenced(w)
    /\ LET o == op[w]
           i == IF o.k = "move" THEN data[o.m] ELSE o.i
           moved == IF o.k = "move" THEN {o.m} ELSE {}
           exists == Creates(o) /\ data[o.n] # 0 IN
       /\ ~exists \/ Broken = "check-then-rename"        \* RENAME_NOREPLACE says EEXIST: AnnounceUndo or Abort
       /\ data' = [x \in Names |-> IF x = o.n THEN i ELSE IF x \in moved THEN 0 ELSE data[x]]
       /\ dDisk' = [x \in Names |-> IF x \in {o.n} \cup moved THEN dDisk[x] \cup {data'[x]} ELSE dDisk[x]]
       /\ temps' = temps \ {o.disp}
       /\ op' = [op EXCEPT ![w].disp = 0]
       /\ won' = IF Creates(o) THEN won + 1 ELSE won
       /\ Go(w, IF Broken = "seal-before-settle" /\ o.mine # 0 THEN "seal" ELSE "settle")
       /\ UNCHANGED <<nameVars, theirs, inoVars, lockVars, left, ret, readVars>>
       /\ Bodies(srec, sbytes)
       /\ Remember({}, IF o.k = "move" /\ o.mine # 0 THEN [x \in {o.n} |-> o.m] ELSE <<>>)

AfterSeal(o) == IF o.k = "move" THEN "unlink-source"
                ELSE IF Broken = "seal-before-settle" THEN "settle" ELSE "release"

Given(w) == [x \in Names |-> IF lock[x] = w THEN Free ELSE lock[x]]

Settle(w) ==
    /\ pc[w] = "settle"
    /\ LET o == op[w]
           late == \/ Broken = "digest-after-data" /\ o.k = "checked"
                   \/ Broken = "naive-move" /\ o.k = "move" /\ IsRec(o.mr) IN
       /\ Flush(IF o.k = "move" /\ o.mine = 0 THEN Pair(o) ELSE {o.n})
       /\ lock' = IF Broken = "unlocked-seal" /\ o.mine # 0 THEN Given(w) ELSE lock
       /\ Go(w, IF late THEN "seal"
                ELSE IF Broken = "seal-before-settle" \/ o.mine = 0 THEN "release"
                ELSE IF Broken = "no-seal" THEN (IF o.k = "move" THEN "unlink-source" ELSE "release")
                ELSE "seal")
       /\ Quiet /\ UNCHANGED <<temps, theirs, inoVars, op, stale, acc, readVars>>
    /\ Bodies(srec, sbytes)

\* The flush failed: the caller is told, nothing is rolled back, nothing is sealed, the lock is left behind.
SettleFails(w) ==
    /\ pc[w] = "settle"
    /\ Go(w, "unsettled")
    /\ Quiet /\ UNCHANGED <<dataVars, scVars, inoVars, op, lockVars, acc, readVars>>

\* R5: our record is cut by its previous lines, through the descriptor that wrote it, if it still shows what we wrote;
\* what a move carries along stays. (A broken writer that has announced nothing writes its record only now.)
Seal(w) ==
    /\ pc[w] = "seal"
    /\ LET o == op[w]
           n == o.n
           i == IF Broken = "unlocked-seal" THEN sc[n] ELSE o.mine
           cut == [Holds(i) EXCEPT !.prev = o.keep, !.nul = FALSE]
           late == IF o.k = "move" THEN o.mr ELSE Rec(o.new, {})
           bodies == IF Broken = "seal-blind" /\ Holds(i) = For THEN <<Put(srec, i, Mal), Put(sbytes, i, {Mal})>>
                     ELSE IF Broken \notin {"seal-blind", "unlocked-seal"} /\ Holds(i) # o.r THEN <<srec, sbytes>>
                     ELSE IF Holds(i).prev = o.keep THEN <<srec, sbytes>>       \* nothing to cut
                     ELSE <<Put(srec, i, cut), Put(sbytes, i, sbytes[i] \cup {cut, [cut EXCEPT !.nul = TRUE]})>> IN
       /\ Go(w, IF Broken = "unlocked-seal" THEN "idle" ELSE AfterSeal(o))
       /\ op' = IF Broken = "unlocked-seal" THEN [op EXCEPT ![w] = NoOp] ELSE op
       /\ Quiet /\ UNCHANGED <<dataVars, temps, theirs, inoVars, lockVars, readVars>>
       /\ IF Broken \in {"digest-after-data", "naive-move"}
          THEN Name(n, Fresh) /\ Bodies(Put(srec, Fresh, late), Put(sbytes, Fresh, {late}))
          ELSE UNCHANGED nameVars /\ Bodies(bodies[1], bodies[2])
       /\ Remember({}, <<>>)

\* A move's end: the source's sidecar goes when the destination is durable, and its directory is flushed. It is retired
\* as in Announce: renamed, then compared.
UnlinkSource(w) ==
    /\ pc[w] = "unlink-source"
    /\ LET o == op[w]
           same == sc[o.m] = 0 \/ (sc[o.m] = o.mi /\ At(o.m) = o.mr)
           after == IF Broken = "source-unflushed" THEN "release" ELSE "settle-source" IN
       /\ Name(o.m, 0)
       /\ temps' = IF same THEN temps ELSE temps \cup {sc[o.m]}
       /\ op' = IF same THEN op ELSE [op EXCEPT ![w].disp = sc[o.m]]
       /\ Go(w, IF same THEN after ELSE "source-back")
    /\ UNCHANGED <<dataVars, theirs, inoVars, lockVars, left, ret, won, readVars>>
    /\ Bodies(srec, sbytes)
    /\ Remember({}, <<>>)

SourceBack(w) ==
    /\ pc[w] = "source-back"
    /\ LET o == op[w] IN
       /\ IF sc[o.m] = 0 THEN Name(o.m, o.disp) /\ temps' = temps \ {o.disp}
          ELSE UNCHANGED nameVars /\ temps' = temps \ {i \in {o.disp} : i \notin theirs}
       /\ op' = [op EXCEPT ![w].disp = 0]
       /\ Go(w, "settle-source")
    /\ Quiet /\ UNCHANGED <<dataVars, theirs, inoVars, lockVars, readVars>>
    /\ Bodies(srec, sbytes)
    /\ Remember({}, <<>>)

SettleSource(w) ==
    /\ pc[w] = "settle-source"
    /\ Flush({op[w].m})
    /\ Go(w, "release")
    /\ Quiet /\ UNCHANGED <<temps, theirs, inoVars, op, lockVars, acc, readVars>>
    /\ Bodies(srec, sbytes)

Release(w) ==
    /\ pc[w] \in {"release", "failed", "unsettled"}
    /\ LET o == op[w]
           mine == {x \in Pair(o) : lock[x] = w} IN
       /\ lock' = Given(w)
       /\ stale' = IF pc[w] = "unsettled" THEN [x \in Names |-> stale[x] \/ x \in mine] ELSE stale
       /\ ret' = IF /\ pc[w] = "release" /\ o.mine # 0 /\ sc[o.n] = o.mine /\ IsRec(At(o.n)) /\ o.n \in mine
                    /\ o.keep = {} /\ Broken # "seal-before-settle"
                 THEN [ret EXCEPT ![o.n] = o.new] ELSE ret
       /\ op' = [op EXCEPT ![w] = NoOp]
       /\ Go(w, "idle")
       /\ UNCHANGED <<dataVars, nameVars, temps, theirs, inoVars, left, acc, won, readVars>>
    /\ Bodies(srec, sbytes)

(***************************************************************************)
(* What else happens.                                                       *)
(***************************************************************************)
\* R8: the next writer sweeps the dead one's temps; a foreign file is left under the temp's name. (Nobody looks at
\* them before, so they go with their writer here.)
Swept(i) == Broken = "sweep-anything" \/ srec[i] # For
Kill(w) ==
    /\ Kills /\ pc[w] # "idle" /\ (w \in Unlocked \/ Forces > 0 \/ lock[op[w].n] = w)
    /\ lock' = Given(w)
    /\ stale' = [n \in Names |-> stale[n] \/ lock[n] = w]
    /\ temps' = temps \ {i \in {op[w].disp} \ {0} : Swept(i)}
    /\ theirs' = theirs \ {i \in {op[w].disp} \ {0} : srec[i] # For}
    /\ op' = [op EXCEPT ![w] = NoOp]
    /\ Go(w, "idle")
    /\ Quiet /\ UNCHANGED <<dataVars, nameVars, inoVars, acc, readVars>>
    /\ Bodies(srec, sbytes)

\* force_release_lock flushes the directory before the name goes (R2).
Force(n) ==
    /\ left.forces > 0 /\ lock[n] # Free
    /\ left' = [left EXCEPT !.forces = @ - 1]
    /\ Flush({n})
    /\ lock' = [lock EXCEPT ![n] = Free]
    /\ UNCHANGED <<stale, temps, theirs, inoVars, pc, op, acc, ret, won, readVars>>
    /\ Bodies(srec, sbytes)

CrashTo(d, s, b) ==
    /\ data' = d /\ dDisk' = [n \in Names |-> {d[n]}]
    /\ sc' = s /\ sDisk' = [n \in Names |-> {s[n]}]
    /\ pc' = [w \in Writers |-> "idle"] /\ op' = [w \in Writers |-> NoOp]
    /\ lock' = [n \in Names |-> Free] /\ stale' = [n \in Names |-> FALSE]
    /\ ret' = [n \in Names |-> 0]
    /\ temps' = {} /\ theirs' = {}
    /\ won' = IF \E n \in Names : d[n] # 0 THEN won ELSE 0
    /\ rpc' = [r \in Readers |-> "idle"] /\ rd' = [r \in Readers |-> NoRead]
    /\ UNCHANGED inoVars
    /\ Bodies([i \in Sidecars |-> IF \E n \in Names : s[n] = i THEN b[CHOOSE n \in Names : s[n] = i] ELSE NoRec],
              [i \in Sidecars |-> IF \E n \in Names : s[n] = i THEN {b[CHOOSE n \in Names : s[n] = i]} ELSE {}])
    /\ Remember(Names, <<>>)

\* What a crash may leave of sidecar inode i.
Leaves(i) == IF i = 0 THEN {NoRec} ELSE sbytes[i]

Crash ==
    /\ left.crashes > 0
    /\ left' = [left EXCEPT !.crashes = @ - 1]
    /\ \E d \in [Names -> UNION {dDisk[n] : n \in Names}], s \in [Names -> UNION {sDisk[n] : n \in Names}] :
        /\ \A n \in Names : d[n] \in dDisk[n] /\ s[n] \in sDisk[n]
        /\ \E b \in [Names -> UNION {Leaves(s[n]) : n \in Names}] :
            /\ \A n \in Names : b[n] \in Leaves(s[n])
            /\ CrashTo(d, s, b)

Tamper(kind) ==
    /\ kind \in Tampers /\ left.tampers > 0
    /\ left' = [left EXCEPT !.tampers = @ - 1]

Alter(n, d) ==
    /\ data[n] # 0 /\ cont[data[n]] # d
    /\ cont' = [cont EXCEPT ![data[n]] = d]
    /\ UNCHANGED <<dataVars, scVars, base, adopted, nino, pc, op, lockVars, ret, won, readVars>>
    /\ Remember({}, <<>>)

Rot == Tamper("rot") /\ \E n \in Names : Alter(n, Bad)
RollBack == Tamper("rollback") /\ \E n \in Names : data[n] # 0 /\ \E d \in 1..(data[n] - 1) : Alter(n, d)

Overwrite(n, r) ==      \* the bytes of the sidecar at n's name, in place
    /\ ret' = [ret EXCEPT ![n] = 0]
    /\ UNCHANGED <<dataVars, nameVars, temps, inoVars, pc, op, lockVars, won, readVars>>
    /\ Bodies(Put(srec, sc[n], r), Put(sbytes, sc[n], {r}))
    /\ Remember({}, <<>>)
SidecarRot ==
    /\ Tamper("sidecar")
    /\ UNCHANGED theirs
    /\ \E n \in Names : IsRec(At(n)) /\ Overwrite(n, Dam)

Stranger(kind) ==
    /\ kind \in Strangers /\ left.strangers > 0
    /\ left' = [left EXCEPT !.strangers = @ - 1]
Install(n, i, r) ==
    /\ sc' = [sc EXCEPT ![n] = i] /\ sDisk' = [sDisk EXCEPT ![n] = {i}]
    /\ theirs' = (theirs \ {sc[n]}) \cup ({i} \ {0})
    /\ ret' = [ret EXCEPT ![n] = 0]
    /\ UNCHANGED <<dataVars, temps, inoVars, pc, op, lockVars, won, readVars>>
    /\ IF i = 0 THEN Bodies(srec, sbytes) ELSE Bodies(Put(srec, i, r), Put(sbytes, i, {r}))
    /\ Remember({}, <<>>)
StrangerSwaps == Stranger("swap") /\ \E n \in Names : Install(n, Fresh, For)
StrangerRemoves == Stranger("remove") /\ \E n \in Names : sc[n] # 0 /\ Install(n, 0, NoRec)
StrangerWrites ==
    /\ Stranger("write")
    /\ \E n \in Names : sc[n] # 0 /\ At(n) # For /\ theirs' = theirs \cup {sc[n]} /\ Overwrite(n, For)
\* sha256sum f > x; mv x f.sha256
StrangerRecords == Stranger("record") /\ \E n \in Names : data[n] # 0 /\ Install(n, Fresh, Rec(cont[data[n]], {}))
\* A program without our locks makes the file, as open(path, "x") does.
StrangerCreates ==
    /\ Stranger("create")
    /\ \E n \in Names :
        /\ data[n] = 0 /\ nino <= MaxIno
        /\ data' = [data EXCEPT ![n] = nino] /\ dDisk' = [dDisk EXCEPT ![n] = {nino}]
        /\ nino' = nino + 1
        /\ won' = won + 1
    /\ UNCHANGED <<scVars, cont, base, adopted, pc, op, lockVars, ret, readVars>>
    /\ Remember({}, <<>>)

\* A dead writer's lock is removed by rm, which flushes nothing.
StrangerUnlocks ==
    /\ Stranger("unlock")
    /\ \E n \in Names : stale[n] /\ stale' = [stale EXCEPT ![n] = FALSE]
    /\ UNCHANGED <<dataVars, scVars, inoVars, pc, op, lock, acc, ret, won, readVars>>

(***************************************************************************)
(* The reader: open; look at the sidecar and hash; check the name; look at  *)
(* the sidecar again. A mismatch is believed only of a sidecar that stayed   *)
(* the same, inode and bytes.                                                *)
(***************************************************************************)
readOnly == <<dataVars, nameVars, temps, theirs, inoVars, pc, op, lockVars, left, acc, ret, won>>

ReadOpen(r, n) ==
    /\ rpc[r] \in {"idle", "again"}
    /\ rpc[r] = "again" => n = rd[r].n
    /\ IF data[n] = 0
       THEN /\ rpc[r] = "again"         \* the file is gone: FileNotFoundError
            /\ rd' = [rd EXCEPT ![r] = NoRead]
            /\ rpc' = [rpc EXCEPT ![r] = "idle"]
       ELSE /\ rd' = [rd EXCEPT ![r] = [NoRead EXCEPT !.n = n, !.i = data[n]]]
            /\ rpc' = [rpc EXCEPT ![r] = "look"]
    /\ UNCHANGED readOnly
    /\ Bodies(srec, sbytes)

Wrong == {"false-alarm", "missed", "falsely-malformed", "held-up"}
\* An honest verdict is good, mismatch, missing, malformed, foreign; only a wrong one is remembered.
Verdict(r, v) ==
    /\ rd' = [rd EXCEPT ![r] = [NoRead EXCEPT !.res = IF v \in Wrong THEN v ELSE "none"]]
    /\ rpc' = [rpc EXCEPT ![r] = "idle"]
\* A pass may be in vain only if a writer was at work between its open and its first look.
Again(r) ==
    IF rd[r].calm /\ ~rd[r].t /\ cont[rd[r].i] = rd[r].c /\ Broken = "looks-only-after" THEN Verdict(r, "held-up")
    ELSE /\ rd' = [rd EXCEPT ![r] = [NoRead EXCEPT !.n = rd[r].n]]
         /\ rpc' = [rpc EXCEPT ![r] = "again"]

Unreadable(s) == s \in {Mal, Dam} \/ (Broken = "strict-tail" /\ s.nul)
Good(r) == IF rd[r].c = Bad /\ rd[r].i \notin adopted THEN "missed" ELSE "good"
Judge(r, s) == IF s = NoRec THEN "missing"
               ELSE IF s = For THEN "foreign"
               ELSE IF Unreadable(s) THEN (IF s = Dam THEN "malformed" ELSE "falsely-malformed")
               ELSE IF rd[r].t \/ cont[rd[r].i] # rd[r].c THEN "mismatch"    \* tampered with, before or after it was read
               ELSE "false-alarm"

Matches(r, s) == ~Unreadable(s) /\ rd[r].c \in Digests(s)

ReadLook(r) ==
    /\ rpc[r] = "look"
    /\ LET n == rd[r].n
           i == rd[r].i
           seen == [rd[r] EXCEPT !.c = cont[i], !.t = cont[i] # base[i], !.s = sc[n], !.r = At(n),
                                 !.calm = data[n] = i /\ IsRec(At(n))] IN
       IF Broken # "looks-only-after" /\ ~Unreadable(At(n)) /\ seen.c \in Digests(At(n))
       THEN Verdict(r, IF seen.c = Bad /\ i \notin adopted THEN "missed" ELSE "good")
       ELSE /\ rd' = [rd EXCEPT ![r] = IF Broken = "looks-only-after" THEN [seen EXCEPT !.s = 0, !.r = NoRec] ELSE seen]
            /\ rpc' = [rpc EXCEPT ![r] = "name"]
    /\ UNCHANGED readOnly
    /\ Bodies(srec, sbytes)

ReadCheckName(r) ==
    /\ rpc[r] = "name"
    /\ IF data[rd[r].n] # rd[r].i /\ Broken # "no-double-check" THEN Again(r)
       ELSE rd' = rd /\ rpc' = [rpc EXCEPT ![r] = "recheck"]
    /\ UNCHANGED readOnly
    /\ Bodies(srec, sbytes)

ReadCheckSidecar(r) ==
    /\ rpc[r] = "recheck"
    /\ LET now == At(rd[r].n)
           stayed == \/ sc[rd[r].n] = rd[r].s /\ now = rd[r].r
                     \/ Broken \in {"no-double-check", "no-sidecar-recheck", "looks-only-after"} IN
       IF Broken \in {"no-double-check", "no-sidecar-recheck"} THEN Verdict(r, Judge(r, rd[r].r))
       ELSE IF Broken = "always-again" THEN Again(r)
       ELSE IF Matches(r, now) THEN Verdict(r, Good(r))
       ELSE IF stayed THEN Verdict(r, Judge(r, now))
       ELSE Again(r)
    /\ UNCHANGED readOnly
    /\ Bodies(srec, sbytes)

Read(r) == (\E n \in Names : ReadOpen(r, n)) \/ ReadLook(r) \/ ReadCheckName(r) \/ ReadCheckSidecar(r)

Writer(w) ==
    \/ \E k \in Kinds, n \in Names, m \in Names \cup {"-"} : Acquire(w, k, n, m)
    \/ AnnounceLook(w) \/ AnnounceResolve(w) \/ \E d \in {nino} : Harden(w, d)
    \/ AnnounceRecord(w) \/ AnnounceRetire(w) \/ AnnounceBarrier(w)
    \/ AnnounceUndo(w) \/ AnnounceBack(w) \/ AnnounceSwap(w) \/ AnnounceAgain(w)
    \/ UndoFlush(w) \/ UndoFlushFails(w) \/ Abort(w)
    \/ Publish(w) \/ Settle(w) \/ SettleFails(w) \/ Seal(w)
    \/ UnlinkSource(w) \/ SourceBack(w) \/ SettleSource(w) \/ Release(w)

Next ==
    \/ \E w \in Writers : Writer(w) \/ Kill(w)
    \/ Crash \/ Rot \/ RollBack \/ SidecarRot
    \/ StrangerSwaps \/ StrangerWrites \/ StrangerRemoves \/ StrangerRecords \/ StrangerCreates \/ StrangerUnlocks
    \/ \E n \in Names : Force(n)
    \/ \E r \in Readers : Read(r)

Spec == Init /\ [][Next]_vars

(* Fairness: a reader that has opened a file goes on. Writers may stop anywhere; they are not needed. *)
Going(r) == rpc[r] # "idle" /\ Read(r)
LiveSpec == Spec /\ \A r \in Readers : WF_vars(Going(r))

-----------------------------------------------------------------------------
Digest == 1..MaxIno \cup {Bad}
IsContent(s) == s \in {NoRec, Mal, Dam, For} \/ (s.new \in Digest /\ s.prev \subseteq Digest /\ s.nul \in BOOLEAN)

TypeOK ==
    /\ data \in [Names -> 0..MaxIno]
    /\ sc \in [Names -> 0..MaxSc]
    /\ \A n \in Names :
        /\ data[n] \in dDisk[n] /\ dDisk[n] \subseteq 0..MaxIno
        /\ sc[n] \in sDisk[n] /\ sDisk[n] \subseteq 0..MaxSc
    /\ \A i \in Sidecars : IF i \in InUse THEN /\ srec[i] \in sbytes[i] /\ srec[i] # NoRec
                                               /\ \A s \in sbytes[i] : IsContent(s)
                                          ELSE srec[i] = NoRec /\ sbytes[i] = {}
    /\ temps \subseteq Sidecars /\ theirs \subseteq Sidecars
    /\ cont \in [1..MaxIno -> Digest] /\ base \in [1..MaxIno -> Digest]
    /\ nino \in 1..(MaxIno + 1) /\ adopted \subseteq 1..MaxIno
    /\ lock \in [Names -> (Writers \ Unlocked) \cup {Free}]
    /\ \A w \in Writers \ Unlocked : pc[w] # "idle" => \/ \A n \in Pair(op[w]) : lock[n] = w
                                                       \/ Broken = "unlocked-seal" \/ Forces > 0
    /\ acc \in [Names -> BOOLEAN] /\ stale \in [Names -> BOOLEAN]
    /\ ret \in [Names -> Digest \cup {0}]
    /\ won \in Nat
    /\ \A r \in Readers : rpc[r] \in {"idle", "look", "name", "recheck", "again"}

\* The bound on sidecar inodes cuts nothing off: there is one to spare for each that may be made next.
EnoughSidecars == Sidecars \ InUse # {}

\* A reader says mismatch only of bytes that are not what was written.
NoFalseAlarm == \A r \in Readers : rd[r].res # "false-alarm"
\* A reader says good of rotted bytes never (unless they were rotten before any record described them).
NoMissedCorruption == \A r \in Readers : rd[r].res # "missed"
\* Nothing but damage from outside makes a sidecar unreadable, not even a crash inside Seal.
NoFalseMalformed == \A r \in Readers : rd[r].res # "falsely-malformed"
\* A pass of a reader whose first look came before the next Publish is the last one, however often a writer replaces
\* the file while it hashes.
ReaderNotHeldUp == \A r \in Readers : rd[r].res # "held-up"
\* A checked write that has returned is sealed: no other content is accepted, the previous one included.
RollbackDetected == \A n \in Names : ret[n] # 0 => Digests(At(n)) = {ret[n]}
\* Whatever a crash at this instant leaves verifies, or makes no claim, or was tampered with.
\* (With d = data and s = sc this also covers every instant without a crash.)
PairRecoverable ==
    \A n \in Names : \A d \in dDisk[n], i \in sDisk[n] : \A s \in Leaves(i) :
        \/ d = 0 \/ s \in {NoRec, Dam, For} \/ cont[d] # base[d]
        \/ cont[d] \in Digests(s)
\* Bytes once accused stay accused, whatever is announced over them.
DamageNotAccepted == \A n \in Names : acc[n] => Accused(n)
\* A stranger's file is never changed, and always has a name: the sidecar's, or a temp's that no sweep removes.
NothingOfTheirsLost ==
    \A i \in theirs : /\ srec[i] = For \/ Sealed(srec[i])
                      /\ i \in temps \/ \E n \in Names : sc[n] = i
\* What was undone shows the sidecar that was there before, the very inode. (Not an unsealed record under the announced
\* one, R4; nor where others were at work.)
UndoRestores ==
    \A w \in Writers : pc[w] = "undone" /\ left.strangers = MaxStrangers /\ left.tampers = MaxTampers /\ left.forces = Forces /\ Unlocked = {} =>
        LET o == op[w]  n == o.n IN
        \/ sc[n] = o.si /\ At(n) = o.sr
        \/ IsRec(o.sr) /\ ~Sealed(o.sr) /\ sc[n] = o.mine /\ At(n) = o.r
\* Without unchecked writes and moves, a name that has a sidecar never shows without one.
\* (checked in the configurations where it holds)
AlwaysRecorded == \A n \in Names : data[n] # 0 => \A i \in sDisk[n] : i # 0
\* Of all that create the file, locking or not, strangers included, one has done so.
OneWinner == won <= 1
\* When all have returned, a record that is there describes the winner's data. (Not one that was there before there was
\* any data, beside a stranger's: who creates a file without us beside a dead creator's record gets a mismatch.)
WinnerRecorded ==
    \A n \in Names : (\A w \in Writers : pc[w] = "idle") /\ data[n] # 0 /\ IsRec(At(n)) /\ At(n).new # 1 =>
        cont[data[n]] \in Digests(At(n))

Symmetry == Permutations(Writers \ Unlocked) \cup Permutations(Unlocked) \cup Permutations(Readers)

ReadersTerminate == \A r \in Readers : (rpc[r] # "idle") ~> (rpc[r] = "idle")
=============================================================================
