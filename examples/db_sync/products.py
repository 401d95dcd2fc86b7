"""What is published: rows of one table as a collection of the State Protocol. No I/O."""

import os

from pydantic import BaseModel, ConfigDict

from durafold.state_protocol import Collection

STREAM = "shop/products"
STREAM_URL = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")


class Product(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    price_cents: int


products = Collection("product", Product, primary_key="id")
