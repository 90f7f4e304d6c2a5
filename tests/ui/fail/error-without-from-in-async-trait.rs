use lock_runtime::distributed_lock;

struct AppError;
struct Shop;

#[async_trait::async_trait]
trait Settle {
    async fn settle(&self, id: u64) -> Result<u64, AppError>;
}

#[async_trait::async_trait]
impl Settle for Shop {
    #[distributed_lock(key = "order:{id}", ttl = "5s")]
    async fn settle(&self, id: u64) -> Result<u64, AppError> {
        Ok(id)
    }
}

fn main() {}
