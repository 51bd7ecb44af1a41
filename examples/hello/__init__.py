"""The first things that newcomers try, one a file: each is a program that runs by itself."""
