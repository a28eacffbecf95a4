"""What alignment is made of: arrays in, an estimate with its uncertainty out. No device, no file, no plan."""
