# SPDX-License-Identifier: MIT
# The Python face of the engine; its contract is in _core.pyi. Nothing here runs per request but the
# doorway, and only for routes that ask for Python.


cdef str _text(Span s):
    return s.ptr[:s.len].decode("latin-1") if s.len else ""


cdef class WorkerEngine:
    def __cinit__(self, int slot, int board):
        cdef Engine *eng
        cdef itimerspec every
        cdef epoll_event event
        self.eng = eng = <Engine *> calloc(1, sizeof(Engine))
        if eng == NULL:
            raise MemoryError
        eng.epfd = eng.timerfd = eng.guest.door = -1
        self.doorway = importlib.import_module("fastproxy.engine.doorway")
        self.responders = {}
        self.waiting = {}
        self.tasks = set()
        engine_map_board(eng, slot, board)
        eng.scratch = <char *> malloc(SCRATCH_BYTES)
        eng.build = <char *> malloc(BUILD_BYTES)
        eng.path_room = <char *> malloc(PATH_ROOM)
        if (not pool_init(&eng.connections, sizeof(Connection))
                or not pool_init(&eng.exchanges, sizeof(Exchange))
                or eng.scratch == NULL or eng.build == NULL or eng.path_room == NULL):
            raise MemoryError
        eng.idle.list_next = eng.idle.list_prev = &eng.idle
        memset(eng.queue_bells, 0xff, sizeof(eng.queue_bells))      # -1: there is none
        eng.scan = scan_choose()
        if getrandom(eng.random, sizeof(eng.random), 0) != sizeof(eng.random):
            raise OSError(errno, "getrandom")
        clock_read(eng)
        clock_strings(eng)
        wheel_init(&eng.wheel, eng.now_ms)
        eng.epfd = epoll_create1(EPOLL_CLOEXEC)
        eng.timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        eng.guest.door = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)
        if eng.epfd < 0 or eng.timerfd < 0 or eng.guest.door < 0:
            raise OSError(errno, "cannot make the engine's epoll set, timer or door")
        every.it_interval.tv_sec = 0
        every.it_interval.tv_nsec = TICK_MS * 1000000
        every.it_value = every.it_interval
        timerfd_settime(eng.timerfd, 0, &every, NULL)
        event.events = EPOLLIN
        event.data.u64 = EVENT_TIMER
        epoll_ctl(eng.epfd, EPOLL_CTL_ADD, eng.timerfd, &event)
        board_beat(board_of(eng), eng.slot, eng.now_ms)

    def __dealloc__(self):
        cdef Engine *eng = self.eng
        if eng == NULL:
            return
        if eng.epfd >= 0:
            close(eng.epfd)
        if eng.timerfd >= 0:
            close(eng.timerfd)
        if eng.guest.door >= 0:
            close(eng.guest.door)
        if eng.board != NULL:
            munmap(eng.board, eng.board_length)
        pool_free(&eng.connections)
        pool_free(&eng.exchanges)
        pool_trim(&eng.blocks)
        free(eng.scratch)
        free(eng.build)
        free(eng.path_room)
        free(eng)

    def fileno(self):
        return self.eng.guest.door

    def host(self, loop):
        cdef const char *trouble
        uvloop = importlib.import_module("uvloop.loop")
        path = uvloop.__file__.encode()
        trouble = guest_take_in(self.eng, path,
                                PyCapsule_GetPointer(uvloop.libuv_get_loop_t_ptr(loop), NULL))
        if trouble != NULL:
            raise OSError(f"{uvloop.__file__}: {trouble.decode()}")

    def turn(self):
        cdef bint again
        cdef Engine *eng = self.eng
        with nogil:
            door_empty(eng)
            again = engine_turn(eng)
            door_fill(eng)
        if doorway_waits(eng):
            self._answer_knocks()
        return again

    def plan(self, int fd):
        cdef const char *trouble = plan_adopt(self.eng, fd, _hash)
        if trouble != NULL:
            raise ValueError(f"this plan cannot be used: {trouble.decode()}")
        return self.eng.plan.header.generation

    def roster(self, int fd):
        cdef const char *trouble = roster_adopt(self.eng, fd, _hash)
        if trouble != NULL:
            raise ValueError(f"this roster cannot be used: {trouble.decode()}")
        return self.eng.roster.header.epoch

    def configure(self, int plan, int roster):
        cdef const char *trouble = both_adopt(self.eng, plan, roster, _hash)
        if trouble != NULL:
            raise ValueError(f"plan and roster cannot be used: {trouble.decode()}")
        return self.eng.plan.header.generation

    def queue_bells(self, fds):
        cdef int bells[WORKERS_MAX]
        cdef uint32_t count = len(fds)
        if count > WORKERS_MAX:
            raise ValueError(f"at most {WORKERS_MAX} bells")
        for at, fd in enumerate(fds):
            bells[at] = fd
        if not queue_watch(self.eng, bells, count):
            raise OSError(errno, "cannot watch the bell of the queue")

    def listen(self, int slot, int listener, int fd):
        if self.eng.plan == NULL or self.eng.roster == NULL:
            raise ValueError("a plan and a roster come before listening sockets")
        if listener_add(self.eng, fd, slot, <uint16_t> listener) != 0:
            raise ValueError(f"more than {LISTENERS_MAX} listening sockets")

    def log_to(self, int fd):
        cdef int own = dup(fd)
        if own < 0:
            raise OSError(errno, "cannot duplicate the log's descriptor")
        if self.eng.log != NULL:
            if log_reopen(self.eng.log, own) != 0:
                raise OSError(errno, "cannot give the log's descriptor to its writer")
            return
        self.eng.log = log_open(own)
        if self.eng.log == NULL:
            close(own)
            raise OSError(errno, "cannot start the log writer")

    def drain(self, double seconds):
        cdef Engine *eng = self.eng
        cdef uint64_t within_ms = <uint64_t> (seconds * 1000)
        with nogil:
            engine_drain(eng, within_ms)

    def adopt(self):
        """Look at all slots now (the doorbell rang); the engine also does it at each tick."""
        cdef Engine *eng = self.eng
        with nogil:
            clock_read(eng)
            adopt_or_hand_back(eng)

    def drained(self):
        return bool(self.eng.accept_done) and self.eng.client_count == 0

    def connections(self):
        return self.eng.client_count

    def responder(self, name, handler):
        self.responders[name] = handler

    def close(self):
        cdef Engine *eng = self.eng
        with nogil:
            engine_close(eng)
        for task in self.tasks:
            task.cancel()

    # ---- doorway ----------------------------------------------------------------------------

    cdef _answer_knocks(self):
        cdef Engine *eng = self.eng
        cdef Knock knock
        cdef Exchange *x
        while eng.knock_tail != eng.knock_head:
            knock = eng.knocks[eng.knock_tail % DOORWAY_RING]
            eng.knock_tail += 1
            self._start_responder(knock.index, knock.generation)
        while eng.answered != NULL:
            x = eng.answered
            eng.answered = x.next_dead
            self._deliver(x)
        bury_the_dead(eng)

    cdef _start_responder(self, uint32_t index, uint32_t generation):
        cdef const Text *names
        cdef Exchange *x = <Exchange *> pool_find(&self.eng.exchanges, index, generation)
        if x == NULL or x.state != EXCHANGE_PARKED:
            return
        names = <const Text *> (x.plan.base + x.plan.header.responders.off)
        handler = self.responders.get(_text(text_span(x.plan.base, names[x.route.target])))
        if handler is None:
            answer = self.doorway.Response(
                500, b"no such responder\n", [("Content-Type", "text/plain")])
            self._resume(index, generation, answer)
            return
        task = self.doorway.running_loop().create_task(
            self.doorway.run_responder(handler, self._request(x), self.fetch))
        self.tasks.add(task)
        task.add_done_callback(lambda done: self._responded(done, index, generation))

    def _responded(self, task, index, generation):
        self.tasks.discard(task)
        if not task.cancelled():
            self._resume(index, generation, task.result())

    cdef _resume(self, uint32_t index, uint32_t generation, response):
        cdef bytes lines = response.lines()
        cdef bytes body = response.body
        cdef Span fields = span(<char *> lines, len(lines))
        cdef Span content = span(<char *> body, len(body))
        exchange_resume(self.eng, index, generation, response.status, fields, content)

    cdef _request(self, Exchange *x):
        cdef Request *kept = x.kept
        cdef Head *head = kept.head
        cdef Span peer
        scene_fill(self.eng, x, kept, NULL)
        peer = self.eng.scene.client_ip
        return self.doorway.Request(
            method=_text(text_span(head.base, head.method_text)),
            path=_text(kept.path),
            query=_text(kept.query),
            host=_text(kept.host),
            client_ip=_text(peer),
            request_id=_text(span(x.request_id, x.request_id_len)),
            params=[_text(kept.hit.params[i]) for i in range(kept.hit.param_count)],
            headers=[(_text(name_of(head, &head.fields[i])), _text(value_of(head, &head.fields[i])))
                     for i in range(head.count)],
        )

    def fetch(self, method, target, host="localhost", headers=(), body=b"", listener=0):
        """Send a request through this worker's routes; awaits a Response."""
        cdef bytes data = self.doorway.request_bytes(method, target, host, list(headers), body)
        cdef uint32_t key = subrequest_begin(self.eng, <char *> data, len(data), listener)
        if key == 0:
            raise ValueError("not a request that could be sent")
        future = self.doorway.running_loop().create_future()
        self.waiting[key] = future
        return future

    cdef _deliver(self, Exchange *x):
        cdef uint32_t length = 0
        cdef Span data
        future = self.waiting.pop(x.sub, None)
        data = buffer_span(&x.collected)
        response = self.doorway.Response(x.status)
        if data.len >= 4:
            memcpy(&length, data.ptr, 4)
            raw = data.ptr[4:4 + length].decode("latin-1")
            response.body = data.ptr[4 + length:data.len]
            response.headers = [
                (name, value.strip()) for name, _, value in
                (line.partition(":") for line in raw.split("\r\n") if line)]
        x.flags &= ~<uint32_t> X_HELD
        exchange_release(self.eng, x)
        if future is not None and not future.done():
            future.set_result(response)


cdef engine_map_board(Engine *eng, int slot, int board):
    """Map the scoreboard and check that this build made it."""
    cdef struct_stat facts
    cdef void *base
    if fstat(board, &facts) != 0:
        raise OSError(errno, "cannot look at the scoreboard")
    base = mmap(NULL, <size_t> facts.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, board, 0)
    if base == MAP_FAILED:
        raise OSError(errno, "cannot map the scoreboard")
    eng.board = <char *> base
    eng.board_length = <size_t> facts.st_size
    if not board_check(<BoardHeader *> base, eng.board_length, _hash):
        raise ValueError("this scoreboard was made by another build")
    if slot < 0 or <uint32_t> slot >= board_of(eng).workers:
        raise ValueError(f"slot {slot} is not on the scoreboard")
    eng.slot = <uint32_t> slot
    eng.me = worker_row(board_of(eng), eng.slot)


cdef void engine_close(Engine *eng) noexcept nogil:
    """Close every connection and the listeners' registrations; flush the log. What is still under
    way is cut by us (end state K), and counts as a 503 if nothing of an answer was there."""
    cdef uint32_t index
    cdef Connection *conn
    cdef Exchange *x
    cdef LogWriter *log = eng.log
    clock_read(eng)
    eng.draining = True
    eng.accept_done = True
    listeners_apply(eng)
    streams_goodbye(eng)
    for index in range(eng.connections.slab_count * SLAB_ITEMS):
        conn = <Connection *> pool_at(&eng.connections, index)
        if conn.item.generation & 1 == 0 or conn.state == PEER_FREE:
            continue
        if conn.role == ROLE_CLIENT:
            x = conn.exchange
            if x != NULL:
                end_state(x, b"K", cut_where(x))
                if x.status == 0:
                    x.status = 503
            client_gone(eng, conn)
        elif conn.exchange == NULL:
            upstream_close(eng, conn)
    bury_the_dead(eng)
    buffer_drop(&eng.blocks, &eng.web_room)
    publish_gauges(eng)
    eng.log = NULL
    log_close(log)
