/* The launcher: what kubelet and the container runtime exec. It holds no logic: it hands the call to
 * the agent in one frame (format: daemon/frame.py) and prints what comes back. Alone, when the agent
 * is away, it only says so in the words of the contract, or keeps a DEL for later ("the frame is the
 * file"). No libc, no heap, every buffer and every wait bounded: it must start in a moment on any
 * node and must never hang. What the calls mean, and JSON of any kind, must not enter. */

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/time.h>
#include <linux/un.h>

#ifndef ADD_MS /* tests shorten them */
#define ADD_MS 20000
#define ADD_WAIT_MS 10000
#define DEL_MS 10000
#define DEL_WAIT_MS 3000
#endif
#define STATUS_MS 200
#define VOLUME_MS 110000 /* a pod's volumes are waited for about 2 minutes */

#define STDIN_MAX (1u << 20)
#define WORDS_MAX (384u << 10) /* argv and environment together */
#define ANSWER_MAX (2u << 20)
#define SPOOL_FILES 1024
#define SPOOL_BYTES (32l << 20)
#define SOCKET_DEFAULT "/run/ringbolt/agent.sock"

#define VERSIONS(comma) \
  "0.1.0" comma "0.2.0" comma "0.3.0" comma "0.3.1" comma "0.4.0" comma "1.0.0" comma "1.1.0"

typedef unsigned char byte;
typedef unsigned long word;

/* --- The machine ----------------------------------------------------------------------------- */

#if defined(__x86_64__)
__asm__(".globl _start\n_start: xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call start\n");
static long sys(long number, long a, long b, long c, long d, long e) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x29,#0\n mov x0,sp\n bl start\n");
static long sys(long number, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
}
#elif defined(__arm__)
__asm__(".globl _start\n_start: mov fp,#0\n mov r0,sp\n bic sp,sp,#7\n bl start\n");
static long sys(long number, long a, long b, long c, long d, long e) {
  register long r7 __asm__("r7") = number;
  register long r0 __asm__("r0") = a;
  register long r1 __asm__("r1") = b;
  register long r2 __asm__("r2") = c;
  register long r3 __asm__("r3") = d;
  register long r4 __asm__("r4") = e;
  __asm__ volatile("swi 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2), "r"(r3), "r"(r4) : "memory");
  return r0;
}
#elif defined(__riscv) && __riscv_xlen == 64
__asm__(".globl _start\n_start: mv a0,sp\n andi sp,sp,-16\n call start\n");
static long sys(long number, long a, long b, long c, long d, long e) {
  register long a7 __asm__("a7") = number;
  register long a0 __asm__("a0") = a;
  register long a1 __asm__("a1") = b;
  register long a2 __asm__("a2") = c;
  register long a3 __asm__("a3") = d;
  register long a4 __asm__("a4") = e;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4) : "memory");
  return a0;
}
#else
#error "the launcher knows x86_64, aarch64, armv7 and riscv64"
#endif

#define SYS(name, ...) SYS_(__NR_##name, __VA_ARGS__, 0, 0, 0, 0, 0)
#define SYS_(number, a, b, c, d, e, ...) \
  sys(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

void *memcpy(void *to, const void *from, word size) { /* compilers call it by this name */
  byte *t = to;
  const byte *f = from;
  while (size--) *t++ = *f++;
  return to;
}

void *memset(void *to, int value, word size) {
  byte *t = to;
  while (size--) *t++ = (byte)value;
  return to;
}

static word length(const char *text) {
  word size = 0;
  while (text[size]) size++;
  return size;
}

static int begins(const char *text, const char *with) {
  while (*with && *text == *with) text++, with++;
  return !*with;
}

static int same(const char *a, const char *b) { return begins(a, b) && length(a) == length(b); }

/* --- Time: milliseconds that may wrap, so only differences mean anything ---------------------- */

static unsigned now_ms(void) {
  long time[2]; /* this call's seconds and nanoseconds are as wide as a register */
  SYS(clock_gettime, CLOCK_MONOTONIC, time);
  return (unsigned)time[0] * 1000u + (unsigned)time[1] / 1000000u;
}

static unsigned began;

static int left_ms(unsigned limit) {
  int left = (int)(began + limit - now_ms());
  return left > 0 ? left : 0;
}

/* Wait until the descriptor is ready, or the time is over: 0. Without a descriptor: sleep. */
static int ready(int fd, short events, int timeout_ms) {
  struct pollfd one = {fd, events, 0};
  long timeout[2] = {timeout_ms / 1000, timeout_ms % 1000 * 1000000l};
  return SYS(ppoll, &one, fd >= 0, timeout, 0, 0) > 0;
}

/* --- The call ---------------------------------------------------------------------------------- */

struct verb {
  const char *name;
  unsigned limit_ms; /* after which the launcher is gone, whatever the agent does */
  unsigned wait_ms;  /* how long it seeks an agent that is away: a rolling update goes unnoticed */
};

static const struct verb VERBS[] = {
    {"ADD", ADD_MS, ADD_WAIT_MS},   {"CHECK", ADD_MS, ADD_WAIT_MS}, {"DEL", DEL_MS, DEL_WAIT_MS},
    {"GC", ADD_MS, DEL_WAIT_MS},    {"STATUS", STATUS_MS, 0},       {"VERSION", STATUS_MS, 0},
    {0, DEL_MS, DEL_WAIT_MS}, /* anything else: the agent knows what is wrong with it */
};
static const struct verb VOLUME = {"volume", VOLUME_MS, ADD_WAIT_MS};

static const struct verb *verb;
static const char *command = "", *container = "", *interface = "", *netns = "";
static const char *socket_path = SOCKET_DEFAULT;

static const char *const TRACE[] = {"TRACEPARENT=", "TRACESTATE=", "BAGGAGE=", 0};

static int wanted(const char *variable) {
  for (int i = 0; TRACE[i]; i++)
    if (begins(variable, TRACE[i])) return 1;
  return begins(variable, "CNI_") || begins(variable, "RINGBOLT_");
}

static void notice(const char *variable) {
  if (begins(variable, "CNI_COMMAND=")) command = variable + 12;
  if (begins(variable, "CNI_CONTAINERID=")) container = variable + 16;
  if (begins(variable, "CNI_IFNAME=")) interface = variable + 11;
  if (begins(variable, "CNI_NETNS=")) netns = variable + 10;
  if (begins(variable, "RINGBOLT_SOCKET=") && variable[16]) socket_path = variable + 16;
}

/* --- The frame --------------------------------------------------------------------------------- */

enum { VERSION = 1, CNI = 1, FLEXVOLUME = 2, ANSWER = 3, HEADER = 12, FIELD = 8 };
enum { ARGUMENT = 1, VARIABLE = 2, INPUT = 3 };

static byte frame[HEADER + WORDS_MAX + FIELD + STDIN_MAX + 1]; /* one more byte shows excess */
static word frame_size = HEADER;
static const byte *input;
static word input_size;
static byte answer[ANSWER_MAX] __attribute__((aligned(16))); /* directory entries are read here too */

static void put(byte *at, unsigned value, int size) {
  while (size--) at[size] = (byte)value, value >>= 8;
}

static unsigned get(const byte *at, int size) {
  unsigned value = 0;
  while (size--) value = value << 8 | *at++;
  return value;
}

static int add_word(unsigned tag, const char *text) {
  word size = length(text);
  if (size > WORDS_MAX || frame_size + FIELD + size > HEADER + WORDS_MAX) return 0;
  put(frame + frame_size, tag, 4);
  put(frame + frame_size + 4, (unsigned)size, 4);
  memcpy(frame + frame_size + FIELD, text, size);
  frame_size += FIELD + size;
  return 1;
}

/* Read stdin into the frame's last field; a reason if that cannot be done. */
static const char *add_input(void) {
  byte *field = frame + frame_size;
  input = field + FIELD;
  for (;;) {
    if (!ready(0, POLLIN, left_ms(verb->limit_ms))) return "stdin was not closed in time";
    long got = SYS(read, 0, input + input_size, STDIN_MAX + 1 - input_size);
    if (got == -EINTR || got == -EAGAIN) continue;
    if (got < 0) return "stdin cannot be read";
    if (!got) break;
    input_size += (word)got;
    if (input_size > STDIN_MAX) return "stdin is larger than 1 MiB";
  }
  put(field, INPUT, 4);
  put(field + 4, (unsigned)input_size, 4);
  frame_size += FIELD + input_size;
  return 0;
}

static void seal(unsigned kind) {
  memcpy(frame, "RgBt", 4);
  put(frame + 4, VERSION, 2);
  put(frame + 6, kind, 2);
  put(frame + 8, (unsigned)(frame_size - HEADER), 4);
}

/* --- One attempt to have it answered ------------------------------------------------------------ */

enum outcome { ANSWERED, ABSENT, BROKEN, REFUSED, SLOW };

struct message { /* msghdr as the kernel has it */
  void *name;
  int name_size;
  struct { const void *base; word size; } *parts;
  word count;
  void *control;
  word control_size;
  unsigned flags;
};
struct rights { word size; int level, type, fd; };
enum { UNIX = 1, SOL_SOCKET_ = 1, SCM_RIGHTS_ = 1, MSG_NOSIGNAL_ = 0x4000, STREAM = 1 };

static enum outcome send_frame(int fd, int namespace) {
  struct { const void *base; word size; } part;
  struct rights rights = {sizeof(word) + 3 * sizeof(int), SOL_SOCKET_, SCM_RIGHTS_, namespace};
  for (word sent = 0; sent < frame_size;) {
    struct message message = {0};
    part.base = frame + sent, part.size = frame_size - sent;
    message.parts = (void *)&part, message.count = 1;
    if (!sent && namespace >= 0) message.control = &rights, message.control_size = sizeof rights;
    long done = SYS(sendmsg, fd, &message, MSG_NOSIGNAL_);
    if (done > 0) sent += (word)done;
    else if (done == -EAGAIN || done == -EINTR) {
      if (!ready(fd, POLLOUT, left_ms(verb->limit_ms))) return SLOW;
    } else return done == -EPIPE ? ANSWERED : BROKEN; /* it may have refused before it closed */
  }
  return ANSWERED;
}

static enum outcome receive(int fd, byte *to, word size) {
  for (word have = 0; have < size;) {
    long got = SYS(read, fd, to + have, size - have);
    if (got > 0) have += (word)got;
    else if (got == -EAGAIN || got == -EINTR) {
      if (!ready(fd, POLLIN, left_ms(verb->limit_ms))) return SLOW;
    } else return BROKEN;
  }
  return ANSWERED;
}

static word answer_size;
static unsigned answer_code;

static enum outcome receive_answer(int fd) {
  byte header[HEADER];
  enum outcome outcome = receive(fd, header, HEADER);
  if (outcome != ANSWERED) return outcome;
  unsigned size = get(header + 8, 4);
  if (get(header, 4) != 0x52674274u || get(header + 4, 2) != VERSION ||
      get(header + 6, 2) != ANSWER || size < 4 || size > ANSWER_MAX)
    return REFUSED;
  outcome = receive(fd, answer, size);
  answer_code = get(answer, 4);
  answer_size = size - 4;
  return outcome;
}

static enum outcome attempt(int namespace) {
  struct sockaddr_un address = {UNIX, {0}};
  word size = length(socket_path);
  if (size >= sizeof address.sun_path) return REFUSED;
  memcpy(address.sun_path, socket_path, size);
  int fd = (int)SYS(socket, UNIX, STREAM | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) return ABSENT;
  enum outcome outcome = ABSENT;
  if (SYS(connect, fd, &address, sizeof address) == 0) {
    outcome = send_frame(fd, namespace);
    if (outcome == ANSWERED) outcome = receive_answer(fd);
  }
  SYS(close, fd);
  return outcome;
}

/* Try until the agent answers; one that is away or goes away is waited for a while. */
static enum outcome consult(void) {
  int namespace = *netns ? (int)SYS(openat, AT_FDCWD, netns, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
  int broken = 0;
  for (int pause_ms = 5;; pause_ms = pause_ms < 80 ? pause_ms * 2 : 100) {
    enum outcome outcome = attempt(namespace);
    if (outcome == BROKEN) broken++; /* every call may be repeated, but must not fell agent after agent */
    if ((outcome != ABSENT && outcome != BROKEN) || broken > 3) return outcome;
    if (left_ms(verb->wait_ms) < pause_ms) return outcome;
    ready(-1, 0, pause_ms);
  }
}

/* --- Alone -------------------------------------------------------------------------------------- */

static int print(int fd, const void *bytes, word size) {
  const byte *at = bytes;
  while (size) { /* at most what a pipe that is ready takes at once */
    if (!ready(fd, POLLOUT, left_ms(verb->limit_ms + 1000))) return 0;
    long done = SYS(write, fd, at, size < 4096 ? size : 4096);
    if (done == -EINTR || done == -EAGAIN) continue;
    if (done <= 0) return 0;
    at += done, size -= (word)done;
  }
  return 1;
}

static int say(int code, const char *text) {
  return print(1, text, length(text)) ? code : 1;
}

static unsigned long long mixed(unsigned long long hash, const void *bytes, word size) {
  for (const byte *at = bytes; size--;) hash = (hash ^ *at++) * 0x100000001b3ull; /* FNV-1a */
  return hash;
}

static char *digits(char *at, unsigned value) {
  for (int shift = 28; shift >= 0; shift -= 4) *at++ = "0123456789abcdef"[value >> shift & 15];
  return at;
}

static char *hexadecimal(char *at, unsigned long long value) {
  return digits(digits(at, (unsigned)(value >> 32)), (unsigned)value);
}

struct entry { unsigned long long inode, offset; unsigned short size; byte type; char name[]; };

/* Whether one more frame may lie in the spool: it is bounded in files and in bytes. */
static int has_room(int spool) {
  long bytes = (long)frame_size, got;
  int files = 0;
  while ((got = SYS(getdents64, spool, answer, ANSWER_MAX)) > 0)
    for (long at = 0; at < got;) {
      struct entry *entry = (struct entry *)(answer + at);
      at += entry->size;
      if (entry->name[0] == '.') continue;
      int fd = (int)SYS(openat, spool, entry->name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
      if (fd < 0) continue;
      bytes += SYS(lseek, fd, 0, 2);
      files++;
      SYS(close, fd);
    }
  return files < SPOOL_FILES && bytes <= SPOOL_BYTES;
}

static int open_spool(void) {
  char path[256];
  word end = length(socket_path);
  while (end && socket_path[end - 1] != '/') end--;
  if (!end || end + 6 > sizeof path) return -1;
  memcpy(path, socket_path, end);
  path[end] = 0;
  SYS(mkdirat, AT_FDCWD, path, 0755); /* it is there, or the next call fails and says so */
  memcpy(path + end, "spool", 6);
  SYS(mkdirat, AT_FDCWD, path, 0700);
  return (int)SYS(openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int write_whole(int spool, const char *name) {
  int fd = (int)SYS(openat, spool, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return 0;
  word done = 0;
  while (done < frame_size) {
    long now = SYS(write, fd, frame + done, frame_size - done);
    if (now <= 0) break;
    done += (word)now;
  }
  int synced = SYS(fsync, fd) == 0, closed = SYS(close, fd) == 0;
  return synced && closed && done == frame_size;
}

/* Keep the frame for the agent; it replays it when it is back. The same DEL makes the same file. */
static int keep(void) {
  char temporary[64] = ".", name[64];
  long time[2];
  int spool = open_spool();
  if (spool < 0 || !has_room(spool)) return 0;
  SYS(clock_gettime, CLOCK_MONOTONIC, time);
  unsigned long long chance = (unsigned long long)SYS(getpid, 0) << 32 ^ (unsigned)time[1];
  *hexadecimal(temporary + 1, chance) = 0;
  const unsigned long long basis = 0xcbf29ce484222325ull;
  char *at = hexadecimal(name, mixed(basis, container, length(container)));
  *at++ = '-';
  at = hexadecimal(at, mixed(mixed(basis, interface, length(interface)), input, input_size));
  memcpy(at, ".frame", 7);
  if (write_whole(spool, temporary) && SYS(renameat2, spool, temporary, spool, name, 0) == 0)
    return SYS(fsync, spool) == 0;
  SYS(unlinkat, spool, temporary, 0);
  return 0;
}

#define AGAIN(reason) "{\n    \"code\": 11,\n    \"msg\": \"ringbolt: " reason "\"\n}"
#define FAILED(code, reason) "{\n    \"code\": " #code ",\n    \"msg\": \"ringbolt: " reason "\"\n}"

static const char *const WHY_AGAIN[] = {
    [ABSENT] = AGAIN("the agent is away; is its pod or service running on this node?"),
    [BROKEN] = AGAIN("the agent ended during the call; its log says why"),
    [REFUSED] = AGAIN("the agent takes no call now: too many wait, or it is of another version"),
    [SLOW] = AGAIN("the agent did not answer in time; its log says what it waits for"),
};

#define FAILURE(reason) "{\"status\":\"Failure\",\"message\":\"ringbolt: " reason "\"}\n"

static const char *const WHY_FAILURE[] = {
    [ABSENT] = FAILURE("the agent is away; is its pod or service running on this node?"),
    [BROKEN] = FAILURE("the agent ended during the call; its log says why"),
    [REFUSED] = FAILURE("the agent takes no call now: too many wait, or it is of another version"),
    [SLOW] = FAILURE("the agent did not answer in time; its log says what it waits for"),
};

static int alone(enum outcome outcome) {
  if (verb == &VOLUME) return say(0, WHY_FAILURE[outcome]);
  if (same(command, "VERSION"))
    return say(0, "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"" VERSIONS("\",\"") "\"]}\n");
  if (same(command, "STATUS"))
    return say(1, FAILED(50, "the agent does not answer; is its pod or service running on this node?"));
  if (same(command, "DEL")) {
    if (keep()) return 0;
    return say(1, AGAIN("the agent does not answer, and its spool takes no more"));
  }
  return say(1, WHY_AGAIN[outcome]);
}

static int fail_reading(const char *reason) {
  if (verb == &VOLUME)
    return say(0, FAILURE("too many or too long arguments"));
  say(1, "{\n    \"code\": 5,\n    \"msg\": \"ringbolt: ");
  say(1, reason);
  return say(1, "\"\n}");
}

/* `init` is called under a lock that all of a kubelet's volumes wait for, and by controllers on nodes
 * without an agent. What the rest would do is never done here: flexvolume/door.py says why. */
#define INIT "{\"status\":\"Success\",\"capabilities\":{\"attach\":false,\"fsGroup\":false," \
             "\"supportsMetrics\":true,\"requiresFSResize\":true}}\n"
static const char *const NEVER_SUPPORTED[] = {
    "getvolumename", "attach", "waitforattach", "isattached", "detach",
    "mountdevice", "unmountdevice", "expandvolume", 0,
};

static int answer_volume_at_once(const char *call) {
  if (same(call, "init")) return say(0, INIT);
  for (int i = 0; NEVER_SUPPORTED[i]; i++)
    if (same(call, NEVER_SUPPORTED[i])) return say(0, "{\"status\":\"Not supported\"}\n");
  return -1;
}

/* What needs no agent, ever: -1 if the call does. */
static int answer_at_once(int argc, char **argv) {
  if (verb == &VOLUME) return argc > 1 ? answer_volume_at_once(argv[1]) : -1;
  if (*command) return -1;
  const char *about = "CNI plugin ringbolt\nCNI protocol versions supported: " VERSIONS(", ") "\n";
  return print(2, about, length(about)) ? 0 : 1;
}

/* --- Start -------------------------------------------------------------------------------------- */

static const struct verb *find_verb(const char *program) {
  const char *name = program;
  for (; *program; program++)
    if (*program == '/') name = program + 1;
  if (same(name, "volume") || same(name, "flexvolume")) return &VOLUME;
  const struct verb *found = VERBS;
  while (found->name && !same(found->name, command)) found++;
  return found;
}

static int run(int argc, char **argv, char **environment) {
  began = now_ms();
  for (char **at = environment; *at; at++) notice(*at);
  verb = find_verb(argc ? argv[0] : "");
  int code = answer_at_once(argc, argv);
  if (code >= 0) return code;
  const char *wrong = 0;
  for (int i = 0; i < argc; i++)
    if (!add_word(ARGUMENT, argv[i])) wrong = "the arguments are too long";
  for (char **at = environment; *at; at++)
    if (wanted(*at) && !add_word(VARIABLE, *at)) wrong = "the environment is too long";
  if (!wrong && verb != &VOLUME && !same(command, "VERSION")) wrong = add_input();
  if (wrong) return fail_reading(wrong);
  seal(verb == &VOLUME ? FLEXVOLUME : CNI);
  enum outcome outcome = consult();
  if (outcome != ANSWERED) return alone(outcome);
  return print(1, answer + 4, answer_size) ? (int)answer_code : 1;
}

__attribute__((used, noreturn)) void start(long *stack) {
  char **argv = (char **)(stack + 1);
  SYS(exit_group, run((int)stack[0], argv, argv + stack[0] + 1));
  __builtin_unreachable();
}
