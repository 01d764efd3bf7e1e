"""Jobs: durable operations on one practice or many. ``kinds`` says what each kind does, ``control`` orders them."""
