"""The machine at hand: names and claims of devices, replay of device work, memory, progress."""
