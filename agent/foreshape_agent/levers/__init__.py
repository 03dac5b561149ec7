"""Ways to resize a VM, one file each, behind one small interface (base.py)."""
