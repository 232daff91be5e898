// Large tensors of the CPU in an arena of their own, instead of glibc's heap.
//
// glibc puts small objects into the holes that large blocks leave, and an aligned block needs a little more than its size
// to be found; a hole of 24 MiB then no longer takes the next block of 24 MiB. A RoBERTa-base step held 600 to 900 MiB of
// such holes.
// Here a block is whole pages, taken from the smallest hole that holds it (of equal ones the lowest); neighbouring holes
// are one. What is freed stays in the process, so the next step touches no new page.
//
//     | blocks of a step -> ...        one untouched hole        ... <- persistent blocks |
//
// Persistent blocks (an optimizer's state) come from the other end: between those of a step they would cut holes apart.
// The arena is reserved as addresses; memory is what has been touched. Where it is full, torch's own allocator goes on.
#include <c10/core/CPUAllocator.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

namespace {

constexpr size_t kPage = 4096;
using Address = uintptr_t;

std::mutex guard;
thread_local bool persistent = false;

void lock() { guard.lock(); }
void unlock() { guard.unlock(); }

struct Arena {
  Address begin = 0, end = 0;
  std::map<Address, size_t> holes;                // address -> size
  std::set<std::pair<size_t, Address>> by_size;   // the same holes
  std::unordered_map<Address, size_t> blocks;     // address -> size
  size_t used = 0, most_used = 0;
  Address low = 0, high = 0;  // between them nothing has been touched

  bool holds(const void* block) const { return Address(block) - begin < end - begin; }

  void add(Address at, size_t size) {
    holes.emplace(at, size);
    by_size.emplace(size, at);
  }

  void remove(std::map<Address, size_t>::iterator hole) {
    by_size.erase({hole->second, hole->first});
    holes.erase(hole);
  }

  void* take(size_t bytes) {
    const size_t size = (bytes + kPage - 1) / kPage * kPage;
    auto hole = holes.end();
    if (persistent) {
      for (auto candidate = holes.end(); candidate != holes.begin() && hole == holes.end();)
        if ((--candidate)->second >= size) hole = candidate;
    } else if (auto found = by_size.lower_bound({size, 0}); found != by_size.end()) {
      hole = holes.find(found->second);
    }
    if (hole == holes.end()) return nullptr;
    const auto [at, room] = *hole;
    remove(hole);
    const Address block = persistent ? at + room - size : at;
    if (room > size) add(persistent ? at : at + size, room - size);
    blocks.emplace(block, size);
    used += size;
    if (used > most_used) most_used = used;
    if (block < high && block + size > low) (persistent ? high : low) = persistent ? block : block + size;
    return reinterpret_cast<void*>(block);
  }

  size_t give(const void* block) {
    const auto found = blocks.find(Address(block));
    Address at = found->first;
    size_t size = found->second;
    const size_t freed = size;
    used -= size;
    blocks.erase(found);
    auto next = holes.lower_bound(at);
    if (next != holes.end() && next->first == at + size) {
      size += next->second;
      remove(next++);
    }
    if (next != holes.begin()) {
      auto previous = std::prev(next);
      if (previous->first + previous->second == at) {
        at = previous->first;
        size += previous->second;
        remove(previous);
      }
    }
    add(at, size);
    return freed;
  }
};

Arena& arena() {
  static Arena* one = new Arena;  // blocks are freed until the process has ended
  return *one;
}

struct Allocator final : c10::Allocator {
  c10::Allocator* other = c10::GetCPUAllocator();
  size_t least = 0;

  static Allocator& one() {
    static Allocator* one = new Allocator;
    return *one;
  }

  c10::DataPtr allocate(size_t bytes) override {
    void* block = nullptr;
    if (bytes >= least) {
      std::lock_guard<std::mutex> held(guard);
      block = arena().take(bytes);
    }
    if (block != nullptr)
      c10::profiledCPUMemoryReporter().New(block, bytes);
    else
      block = other->raw_allocate(bytes);
    return {block, block, &release, c10::Device(c10::DeviceType::CPU)};
  }

  static void release(void* block) {
    if (block == nullptr) return;
    if (!arena().holds(block)) {
      one().other->raw_deallocate(block);
      return;
    }
    c10::profiledCPUMemoryReporter().Delete(block);
    std::lock_guard<std::mutex> held(guard);
    arena().give(block);
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }
};

}  // namespace

extern "C" {

// Let tensors of `least` bytes and more live in an arena of `bytes` addresses; 0 where these cannot be had.
int arena_install(size_t least, size_t bytes) {
  if (sysconf(_SC_PAGESIZE) != long(kPage)) return 0;
  bytes = bytes / kPage * kPage;
  void* addresses =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (addresses == MAP_FAILED) return 0;
  Arena& r = arena();
  r.begin = r.low = Address(addresses);
  r.end = r.high = r.begin + bytes;
  r.add(r.begin, bytes);
  pthread_atfork(lock, unlock, unlock);  // data loaders fork
  Allocator::one().least = least;
  c10::SetCPUAllocator(&Allocator::one());
  return 1;
}

// Whether blocks that this thread takes from now on will outlast the step; returns what it was.
int arena_persistent(int on) {
  const bool was = persistent;
  persistent = on != 0;
  return was;
}

// Return the memory of all holes to the system.
void arena_release() {
  std::lock_guard<std::mutex> held(guard);
  Arena& r = arena();
  for (const auto& [at, size] : r.holes) madvise(reinterpret_cast<void*>(at), size, MADV_DONTNEED);
  if (r.by_size.empty()) return;
  r.low = r.by_size.rbegin()->second;
  r.high = r.low + r.by_size.rbegin()->first;
}

// Bytes in blocks now and at most, and bytes that lie outside the untouched middle.
void arena_figures(size_t* out) {
  std::lock_guard<std::mutex> held(guard);
  const Arena& r = arena();
  out[0] = r.used;
  out[1] = r.most_used;
  out[2] = (r.low - r.begin) + (r.end - r.high);
}
}
