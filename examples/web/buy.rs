//! The two ways to buy in the flash sale. They differ by one line.

use lock_runtime::distributed_lock;

use crate::buyer::Buyer;
use crate::sale::{Refusal, Sale};

#[distributed_lock(key = "sale:{sale.item}", ttl = "2s", wait = "30s", metadata = "{buyer}", manager = sale.locks)]
pub(crate) async fn buy(sale: &Sale, buyer: &Buyer) -> Result<i64, Refusal> {
    sell(sale, buyer).await
}

pub(crate) async fn buy_unlocked(sale: &Sale, buyer: &Buyer) -> Result<i64, Refusal> {
    sell(sale, buyer).await
}

/// Looks first and acts later. In between, somebody else may do the same.
async fn sell(sale: &Sale, buyer: &Buyer) -> Result<i64, Refusal> {
    let inside = buyer.enters();
    if sale.stock.read().await? <= 0 {
        inside.leaves_without();
        return Err(Refusal::SoldOut);
    }
    buyer.pays().await;
    let left = sale.stock.take_one().await?;
    inside.leaves_with_one();
    Ok(left)
}
