use lock_runtime::distributed_lock;

#[distributed_lock(key = "order:{id}", ttl = "5s")]
async fn settle(id: u64) -> impl std::fmt::Display {
    id
}

fn main() {}
