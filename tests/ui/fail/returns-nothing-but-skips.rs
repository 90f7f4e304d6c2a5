use lock_runtime::distributed_lock;

#[distributed_lock(key = "order:{id}", ttl = "5s", on_busy = "skip")]
async fn settle(id: u64) {
    println!("{id}");
}

fn main() {}
