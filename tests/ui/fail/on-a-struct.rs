use lock_runtime::distributed_lock;

#[distributed_lock(key = "order:{id}", ttl = "5s")]
struct Order {
    id: u64,
}

fn main() {}
