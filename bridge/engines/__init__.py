"""Pure compute: model files in, arrays out. Blocking, called in threads; free of asyncio and HTTP."""
