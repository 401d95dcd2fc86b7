"""What can happen in the shop, and what follows for one customer's account. Plain Python, no I/O."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

STREAM = "shop/orders"


class Event(BaseModel):
    model_config = ConfigDict(frozen=True)


class OrderPlaced(Event):
    type: Literal["order-placed"] = "order-placed"
    order: str
    customer: str
    total: Annotated[Decimal, Field(gt=0, decimal_places=2)]


class OrderCancelled(Event):
    type: Literal["order-cancelled"] = "order-cancelled"
    order: str


OrderEvent = Annotated[OrderPlaced | OrderCancelled, Field(discriminator="type")]
order_event: TypeAdapter[OrderPlaced | OrderCancelled] = TypeAdapter(OrderEvent)
