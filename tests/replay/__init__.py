from .names import put_back

put_back()
