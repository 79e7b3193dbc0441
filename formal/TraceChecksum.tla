--------------------------- MODULE TraceChecksum ---------------------------
(***************************************************************************)
(* Is a recorded trace of the running code a behaviour of SafeAtomicChecksum? *)
(* TraceReplay says in which order events are followed. The events are those *)
(* that trace_checksum.py projects:                                          *)
(*   e      what happened             p      the process, from 1             *)
(*   k, n, m   operation, name, a move's source       d, ds, obs   digests   *)
(* TProcs, TNames and TMaxIno are sizes that suffice for all traces.         *)
(* A killed process may have done one effect more than it logged, one of a   *)
(* move two. A trace may end anywhere.                                       *)
(***************************************************************************)
EXTENDS SafeAtomicChecksum, TraceReplay

VARIABLE hidden     \* process -> effects that it did not live to log
tvars == <<vars, replay, hidden>>

Indices(t) == 1..Len(Traces[t])
SetOf(s) == {s[i] : i \in 1..Len(s)}

TFree == 0
Folders == <<{"1a", "1b", "1c", "1d", "1e", "1f"}, {"2a", "2b", "2c", "2d", "2e", "2f"}>>
TPeers(n) == Names \cap (IF n \in Folders[1] THEN Folders[1] ELSE Folders[2])
Plenty == 100000

TInit ==
    /\ ReplayInit
    /\ data = [n \in Names |-> 0] /\ dDisk = [n \in Names |-> {0}]
    /\ sc = [n \in Names |-> 0] /\ sDisk = [n \in Names |-> {0}]
    /\ srec = [i \in Sidecars |-> NoRec] /\ sbytes = [i \in Sidecars |-> {}]
    /\ temps = {} /\ theirs = {}
    /\ cont = [i \in 1..MaxIno |-> 0] /\ base = [i \in 1..MaxIno |-> 0] /\ adopted = {} /\ nino = 1
    /\ pc = [w \in Writers |-> "idle"] /\ op = [w \in Writers |-> NoOp]
    /\ lock = [n \in Names |-> Free] /\ stale = [n \in Names |-> FALSE]
    /\ left = [ops |-> Plenty, tampers |-> Plenty, strangers |-> Plenty, forces |-> Plenty, crashes |-> Plenty]
    /\ acc = [n \in Names |-> FALSE] /\ ret = [n \in Names |-> 0] /\ won = 0
    /\ rpc = [r \in Readers |-> "idle"] /\ rd = [r \in Readers |-> NoRead]
    /\ hidden = [p \in Writers |-> 0]

\* Content that no event mentions gets a digest of its own.
Seen == UNION {{Trace[i].d} \cup SetOf(Trace[i].ds) : i \in Indices(tid)} \ {0, -1}
MayBe(d) == IF d # 0 THEN {d} ELSE Seen \cup {1000 + nino}

\* A file that was there before, or came from elsewhere, durable; with or without a record.
Create(n, d, r) ==
    /\ lock[n] = Free
    /\ data' = [data EXCEPT ![n] = nino] /\ dDisk' = [dDisk EXCEPT ![n] = {nino}]
    /\ cont' = [cont EXCEPT ![nino] = d] /\ base' = [base EXCEPT ![nino] = d] /\ nino' = nino + 1
    /\ sc' = [sc EXCEPT ![n] = IF r = NoRec THEN 0 ELSE Fresh] /\ sDisk' = [sDisk EXCEPT ![n] = {sc'[n]}]
    /\ UNCHANGED <<temps, theirs, adopted, pc, op, lockVars, left, acc, ret, won, readVars>>
    /\ IF r = NoRec THEN Bodies(srec, sbytes) ELSE Bodies(Put(srec, Fresh, r), Put(sbytes, Fresh, {r}))

Known(ev, d) == IF ev.ds = <<-1>> THEN {NoRec, Rec(d, {})}
                ELSE IF ev.ds = <<>> THEN {NoRec} ELSE {Rec(ev.ds[1], SetOf(ev.ds) \ {ev.ds[1]})}

\* What a crash image showed of a name: [n, d, ds]. d = 0: no data, -1: not looked at. ds empty: no sidecar;
\* <<-1>>: not looked at.
Shows(o, d, s) ==       \* d an inode, s a sidecar's content
    /\ o.d # -1 => IF o.d = 0 THEN d = 0 ELSE d # 0 /\ cont[d] = o.d
    /\ o.ds # <<-1>> => IF o.ds = <<>> THEN s = NoRec ELSE IsRec(s) /\ Digests(s) = SetOf(o.ds)
CrashSeen(obs) ==
    LET of(n) == CHOOSE i \in 1..Len(obs) : obs[i].n = n
        named == {obs[i].n : i \in 1..Len(obs)}
        ds == {f \in [named -> UNION {dDisk[n] : n \in named}] : \A n \in named : f[n] \in dDisk[n]}
        ss == {f \in [named -> UNION {sDisk[n] : n \in named}] : \A n \in named : f[n] \in sDisk[n]}
    IN \E d \in ds, s \in ss :
        \E b \in {f \in [named -> UNION {Leaves(s[n]) : n \in named}] : \A n \in named : f[n] \in Leaves(s[n])} :
            /\ \A n \in named : Shows(obs[of(n)], d[n], b[n])
            /\ CrashTo([n \in Names |-> IF n \in named THEN d[n] ELSE data[n]],
                       [n \in Names |-> IF n \in named THEN s[n] ELSE sc[n]],
                       [n \in Names |-> IF n \in named THEN b[n] ELSE At(n)])
            /\ UNCHANGED left

WriterEvent(p, ev) ==
    \/ ev.e = "acquire" /\ Acquire(p, ev.k, ev.n, ev.m)
    \/ ev.e = "resolve" /\ AnnounceResolve(p)
    \/ ev.e = "harden" /\ \E d \in MayBe(ev.d) : Harden(p, d)
    \/ ev.e = "record" /\ pc[p] = "record"
                       /\ (op[p].k = "accept" \/ SetOf(ev.ds) = Previous(op[p]))
                       /\ AnnounceRecord(p) /\ pc'[p] \in {"barrier", "publish"} /\ op'[p].r.new = ev.d
    \/ ev.e = "retire" /\ AnnounceRetire(p) /\ pc'[p] \in {"barrier", "publish"}
    \/ ev.e = "put-back" /\ pc[p] = "look" /\ UNCHANGED vars
    \/ ev.e = "restore" /\ pc[p] = "undone" /\ UNCHANGED vars
    \/ ev.e = "barrier" /\ AnnounceBarrier(p)
    \/ ev.e = "publish" /\ Publish(p)
    \/ ev.e = "settle" /\ Settle(p)
    \/ ev.e = "settle-fails" /\ SettleFails(p)
    \/ ev.e = "seal" /\ Seal(p)
    \/ ev.e = "unlink-source" /\ UnlinkSource(p)
    \/ ev.e = "settle-source" /\ SettleSource(p)
    \/ ev.e = "release" /\ Release(p)

ReaderEvent(p, ev) ==
    \/ ev.e = "open" /\ data[ev.n] # 0 /\ cont[data[ev.n]] \in MayBe(ev.d) /\ ReadOpen(p, ev.n)
    \/ ev.e = "look" /\ rpc[p] = "look" /\ Digests(At(rd[p].n)) = SetOf(ev.ds) /\ ReadLook(p)
    \/ ev.e = "good" /\ rpc[p] = "look" /\ Digests(At(rd[p].n)) = SetOf(ev.ds) /\ ReadLook(p) /\ rpc'[p] = "idle"
    \/ ev.e = "good" /\ rpc[p] = "idle" /\ UNCHANGED vars          \* at the first look, which was reported
    \/ ev.e = "good" /\ rpc[p] = "recheck" /\ Matches(p, At(rd[p].n)) /\ Digests(At(rd[p].n)) = SetOf(ev.ds)
                     /\ ReadCheckSidecar(p)
    \/ ev.e = "mismatch" /\ IsRec(rd[p].r) /\ Digests(rd[p].r) = SetOf(ev.ds) /\ ~Matches(p, At(rd[p].n))
                         /\ ReadCheckSidecar(p) /\ rpc'[p] = "idle"
    \/ ev.e = "missing" /\ ~IsRec(rd[p].r) /\ ~Matches(p, At(rd[p].n)) /\ ReadCheckSidecar(p) /\ rpc'[p] = "idle"
    \/ ev.e = "retry" /\ (ReadCheckName(p) \/ ReadCheckSidecar(p)) /\ rpc'[p] = "again"

OtherEvent(p, ev) ==
    \/ ev.e = "kill" /\ (IF pc[p] = "idle" THEN UNCHANGED vars ELSE Kill(p))
    \/ ev.e = "crash" /\ CrashSeen(ev.obs)
    \/ ev.e = "create" /\ \E d \in MayBe(ev.d) : \E r \in Known(ev, d) : Create(ev.n, d, r)
    \/ ev.e = "tamper" /\ Alter(ev.n, ev.d) /\ UNCHANGED left
    \/ ev.e = "stranger" /\ UNCHANGED left
                         /\ \/ ev.k = "swap" /\ Install(ev.n, Fresh, For)
                            \/ ev.k = "remove" /\ sc[ev.n] # 0 /\ Install(ev.n, 0, NoRec)
                            \/ ev.k = "write" /\ sc[ev.n] # 0 /\ theirs' = theirs \cup {sc[ev.n]} /\ Overwrite(ev.n, For)
    \* What stands at the sidecar's name, and how many files of strangers stand under a temp's.
    \/ ev.e = "seen" /\ Digests(At(ev.n)) = SetOf(ev.ds) /\ (ev.k = "foreign") = (At(ev.n) = For)
                     /\ Cardinality({i \in temps : srec[i] = For}) = ev.d /\ UNCHANGED vars

Logged(p) ==
    /\ Ready(p)
    /\ Take(p)
    /\ LET ev == Event(p) IN
       /\ WriterEvent(p, ev) \/ ReaderEvent(p, ev) \/ OtherEvent(p, ev)
       /\ hidden' = IF ev.e \in {"kill", "crash", "acquire"} THEN [hidden EXCEPT ![p] = 0] ELSE hidden

\* A reader's steps between open and verdict.
Looking(p) ==
    /\ Ready(p) /\ Event(p).e \in {"good", "mismatch", "missing", "retry"}
    /\ \/ rpc[p] = "look" /\ ReadLook(p) /\ rpc'[p] = "name"
       \/ rpc[p] = "name" /\ ReadCheckName(p) /\ rpc'[p] = "recheck"
    /\ UNCHANGED <<replay, hidden>>

Told == {"resolve", "harden", "record", "retire", "put-back", "publish", "release", "restore", "kill", "stranger"}
\* Steps without an event. A writer recognises the sidecar; what a stranger has changed goes back; a write that failed
\* puts things back, then releases.
Silent(p) ==
    /\ Ready(p)
    /\ LET e == Event(p).e
           failing == (e = "release" /\ Event(p).k # "done") \/ e = "restore" IN
       \/ e \in Told /\ AnnounceLook(p)
       \/ e \in {"put-back", "release"} /\ (AnnounceRecord(p) \/ AnnounceRetire(p)) /\ pc'[p] \in {"back", "look"}
       \/ (failing \/ e = "put-back") /\ (AnnounceBack(p) \/ AnnounceSwap(p) \/ AnnounceAgain(p))
       \/ failing /\ AnnounceUndo(p)
       \/ e = "release" /\ failing /\ (UndoFlush(p) \/ UndoFlushFails(p) \/ Abort(p) \/ SettleFails(p))
    /\ UNCHANGED <<replay, hidden>>

CrashAhead == \E q \in Procs : Pending(q) /\ Event(q).e = "crash"
\* An effect that the process did not live to log.
Unlogged(p) ==
    /\ pc[p] # "idle" /\ hidden[p] < (IF op[p].k = "move" THEN 2 ELSE 1)
    /\ (Pending(p) /\ Event(p).e = "kill") \/ CrashAhead
    /\ \/ AnnounceLook(p) \/ AnnounceResolve(p) \/ AnnounceRecord(p) \/ AnnounceRetire(p) \/ AnnounceBarrier(p)
       \/ Publish(p) \/ Settle(p) \/ Seal(p) \/ UnlinkSource(p) \/ SettleSource(p) \/ Release(p)
    /\ hidden' = [hidden EXCEPT ![p] = @ + (IF pc[p] = "look" THEN 0 ELSE 1)]
    /\ UNCHANGED replay

TNext == \E p \in Procs : Logged(p) \/ Looking(p) \/ Silent(p) \/ Unlogged(p)
TSpec == TInit /\ [][TNext]_tvars
=============================================================================
